"""Plan: everything decided about a loss and a batch before the gradient is taken."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.chunks import ARRAYS, rows_per_chunk
from qtarget_inspect.core.errors import LossError, ReductionError
from qtarget_inspect.core.fast_paths import fast_paths_enabled
from qtarget_inspect.engine.adapter import TokenLoss
from qtarget_inspect.engine.calling import parameters_of
from qtarget_inspect.engine.carrying import carry_rows
from qtarget_inspect.engine.gradients import GradientMethod, loss_and_gradient, own_random_numbers
from qtarget_inspect.engine.recognition import Recognised, recognise
from qtarget_inspect.engine.reduction import (
    LEAK,
    TOLERANCE,
    UNKNOWN,
    Reduction,
    Study,
    coupling_of,
    declared_reduction,
    leak_message,
    leaks,
    mean_over,
    study_rows,
)
from qtarget_inspect.engine.samples import SAMPLE_TOKENS

Law = Literal["alike", "mean"]
"""What company does to a token's gradient: nothing, or division by the number of tokens."""

ARRAYS_COMPILED = 3
"""Arrays [rows, V] that a compiled chunk has in the caches at once: logits, p on its way to Q, and some context."""

GUARDS = 4
"""How many chunks have a row compared with its token alone. `coupling_in_company` looks at all tokens."""

GUARDS_SEEN_BEFORE = 0
"""The same for a loss that was compiled and studied before: `coupling_in_company` sees a changed reduction too."""

AS_RETURNED = Reduction("none", "none: one value a token was returned")
ALONE = Reduction("alone", "each token differentiated alone, nothing to undo")


@dataclass(frozen=True)
class Plan:
    """How a loss will be run on a batch.

    Args:
        found: the loss and what calling it on a few tokens showed.
        declared: "auto", or the reduction that the user declares.
        dtype: compute type.
        chunk: rows at a time.
        law: how a token's gradient depends on the number of tokens around; None where that is no simple law, and the
            loss runs whole.
        reduction: what is undone, as far as it is known yet.
        coupled: how tokens are coupled, None where no coupling is known.
        scale: the largest gradient entry seen on the sample.
        compile: whether to compile the gradient of a chunk.
        free_method: whether the gradient method was left to the engine.
        guards: how many chunks have a row compared with its token alone, spread over the batch.
        seen_before: whether the plan comes from an earlier call with the same loss and the same shape of batch.
        settled: whether chunks are known to give the right answer, or the whole batch's reduction is known.
    """

    found: Recognised
    declared: str | float
    dtype: torch.dtype
    chunk: int
    law: Law | None
    reduction: Reduction
    coupled: str | None = None
    scale: float = 0.0
    compile: bool = False
    free_method: bool = True
    guards: int = GUARDS
    seen_before: bool = False
    settled: bool = False

    @property
    def loss(self) -> TokenLoss:
        """The loss, its layout known."""
        return self.found.loss

    @property
    def chunk_method(self) -> GradientMethod:
        """How chunks are differentiated: plain autograd where torch.func gave the same on the sample.

        Inside torch.func, gather and indexing write into fresh memory; plain autograd is about a third faster.
        """
        same = self.found.method == "torch.func" and self.free_method and not self.found.random
        return "autograd" if same and fast_paths_enabled() else self.found.method

    @property
    def asked_for(self) -> frozenset[str]:
        """Names of the batch's context that the loss asks for."""
        return frozenset(self.loss.context.values())

    @property
    def is_compiled(self) -> bool:
        """Whether chunks go through torch.compile: where that was asked for, and there are chunks of torch.func."""
        wanted = self.compile and fast_paths_enabled()
        return wanted and self.law is not None and self.found.method == "torch.func" and self.loss.layout != "token"

    def factor(self, rows: int, tokens: int) -> float:
        """What the gradient of a chunk is multiplied by: D for "alike", D n / N for "mean", D the divisor to undo.

        Args:
            rows: n, tokens of the chunk.
            tokens: N, tokens of the batch.

        Returns:
            The factor.
        """
        divisor = self.reduction.divisor
        assert not isinstance(divisor, Tensor)
        return divisor * rows / tokens if self.law == "mean" else divisor


def make_plan(
    loss: TokenLoss,
    batch: TokenBatch,
    declared: str | float,
    method: str,
    dtype: torch.dtype,
    chunk_size: int | None,
    compile_: bool,
    coupling: str | None = None,
) -> tuple[Plan, TokenBatch]:
    """Recognise the loss, study a few of its tokens in company and alone, and decide how to run.

    Args:
        loss: the adapted loss.
        batch: the whole batch.
        declared: the reduction, "auto" where it is to be found.
        method: gradient method, "auto" where it is to be found.
        dtype: compute type.
        chunk_size: rows at a time, None for a budget.
        compile_: whether to compile.
        coupling: how the loss couples its tokens, where that is declared.

    Returns:
        The plan, and the batch to run on: the user's, or one that also carries what the loss holds by row.

    Raises:
        LossError: the loss cannot be called.
        ReductionError: the reduction would have to be declared.
    """
    if declared != "auto":
        declared_reduction(declared, len(batch))  # refuse nonsense before any work
    # alone, a token may make a loss warn for nothing
    with own_random_numbers(batch.logits.device), warnings.catch_warnings(action="ignore"):
        found, batch = _recognise_with_rows(loss, batch, method, dtype)
        arrays = ARRAYS_COMPILED if compile_ and fast_paths_enabled() else ARRAYS
        chunk = rows_per_chunk(batch.vocabulary, dtype, batch.logits.device, chunk_size, arrays)
        free = method == "auto"
        plan = Plan(found, declared, dtype, chunk, None, AS_RETURNED, coupling, compile=compile_, free_method=free)
        if declared != "auto":
            plan = replace(plan, reduction=declared_reduction(declared, len(batch)))
        return _decide(plan, len(batch)), batch


def _decide(plan: Plan, tokens: int) -> Plan:
    """The law and the reduction, as far as a few tokens show them."""
    found = plan.found
    if found.method == "vmap" and found.whole_only:
        raise LossError(
            f"{found.loss.name} takes the whole batch only, so its tokens cannot be differentiated alone: it holds "
            "something of N rows, or needs many tokens. Leave method='auto'."
        )
    if found.method == "vmap":
        return replace(plan, law="alike", reduction=ALONE, coupled=None, settled=True)
    if found.random or found.whole_only:
        return _unstudied(plan, tokens)
    if found.loss.layout == "token":
        return replace(plan, law="alike", settled=True)
    study = _study_sample(found, plan.chunk_method)
    plan = replace(plan, scale=study.scale)
    if plan.coupled is not None:
        return plan
    if not found.scalar and plan.declared == "auto":
        return _plan_vector(plan, study)
    return _plan_scalar(plan, study, tokens)


def _recognise_with_rows(
    loss: TokenLoss, batch: TokenBatch, method: str, dtype: torch.dtype
) -> tuple[Recognised, TokenBatch]:
    """Recognise the loss; what it holds by row travels with the tokens, under any name where it has to."""
    loss, batch = carry_rows(loss, batch)
    found = recognise(loss, batch, method, dtype)
    if found.whole_only:
        carrying, wider = carry_rows(loss, batch, any_name=True)
        if wider is not batch:
            again = recognise(carrying, wider, method, dtype)
            if not again.whole_only:
                return again, wider
    return found, batch


def _study_sample(found: Recognised, method: GradientMethod) -> Study:
    """The sample's gradient rows in company and alone."""
    sample = found.sample
    rows = torch.arange(min(len(sample), SAMPLE_TOKENS), device=sample.labels.device)
    return study_rows(found.loss, sample, found.together[rows], rows, method, sample.logits.dtype)


def _plan_vector(plan: Plan, study: Study) -> Plan:
    coupled = coupling_of(study)
    if coupled is not None and leaks(plan.loss, plan.found.sample):
        coupled = LEAK
    return replace(plan, coupled=coupled, law="alike" if coupled is None else None)


def _plan_scalar(plan: Plan, study: Study, tokens: int) -> Plan:
    """A law for chunks where the sample shows one; otherwise the whole batch will tell."""
    sample = plan.found.sample
    law: Law | None = None
    if study.all_near(1.0):
        law = "alike"
    elif study.all_near(1 / len(sample)):
        law = "mean"
    if law is None and leaks(plan.loss, sample):
        if plan.declared == "auto":
            raise ReductionError(leak_message(plan.loss, tokens))
        return replace(plan, coupled=LEAK)
    if plan.declared != "auto":
        return replace(plan, law=law)
    items = fixed_number_of_items(plan.loss)
    if law == "alike" and items is not None and _divides_by_items(plan.found, items):
        text = f"sum / num_items_in_batch = {items:g}, undone"
        return replace(plan, law=law, reduction=Reduction("constant", text, items))
    if law == "alike":
        return replace(plan, law=law, reduction=Reduction("sum", "sum, nothing to undo"))
    if law == "mean":
        return replace(plan, law=law, reduction=mean_over(tokens))
    return replace(plan, reduction=Reduction("constant", "measured on the whole batch"))


def _unstudied(plan: Plan, tokens: int) -> Plan:
    """The plan for a loss that cannot be studied: it draws random numbers, or needs the whole batch."""
    coupled = UNKNOWN if plan.found.whole_only and plan.coupled is None else plan.coupled
    if plan.found.scalar and plan.declared == "auto" and plan.found.random:
        raise ReductionError(
            f"{plan.loss.name} returns a scalar and draws random numbers (or two calls on the same tokens differ), so "
            "its reduction cannot be found by comparing batches. Declare it: reduction='sum', reduction='mean' "
            f"(divides by {tokens}), or reduction=<divisor>; or switch the randomness off (.eval())."
        )
    return replace(plan, coupled=coupled, settled=not plan.found.scalar or plan.declared != "auto")


def fixed_number_of_items(loss: TokenLoss) -> float | None:
    """The num_items_in_batch that the user fixed, by `adapt` or a partial; None where there is none.

    Args:
        loss: the adapted loss.

    Returns:
        The number.
    """
    keywords = getattr(loss.function, "keywords", None) or {}
    value = loss.fixed.get("num_items_in_batch", keywords.get("num_items_in_batch"))
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    return float(value) if isinstance(value, (int, float)) and value > 0 else None


def _divides_by_items(found: Recognised, items: float) -> bool:
    """Whether the fixed number of items really divides the sum: with 1 in its place the gradient is so much larger."""
    if items == 1:
        return False
    single = replace(found.loss, fixed={**found.loss.fixed, "num_items_in_batch": 1})
    try:
        _, gradient = loss_and_gradient(single, found.sample.logits.clone(), found.sample, found.method)
    except LossError:
        return False
    return bool(
        torch.allclose(gradient, found.together * items, rtol=TOLERANCE, atol=TOLERANCE * float(gradient.abs().amax()))
    )


def calls_with_one_item(loss: TokenLoss) -> bool:
    """Whether the engine fills in num_items_in_batch = 1.

    Args:
        loss: the adapted loss.

    Returns:
        True where the loss has the parameter and the user did not fix it.
    """
    return "num_items_in_batch" in parameters_of(loss.function) and "num_items_in_batch" not in loss.fixed
