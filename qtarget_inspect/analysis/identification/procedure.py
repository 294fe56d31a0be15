"""identify(loss): probe a black box, find its directions and the law of each weight, hold them against new states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qtarget_inspect.analysis.identification import category as categories
from qtarget_inspect.analysis.identification.forms import FoundLaw, constant_law
from qtarget_inspect.analysis.identification.law_search import Search, find_law
from qtarget_inspect.analysis.identification.library import fill_top_k, library
from qtarget_inspect.analysis.identification.locating import make_locate
from qtarget_inspect.analysis.identification.neighbours import nearest_variants
from qtarget_inspect.analysis.identification.observation import (
    BlackBox,
    Observation,
    black_box,
    black_box_on_probes,
    coincident_models,
    observe,
    observe_probes,
)
from qtarget_inspect.analysis.identification.records import token_table
from qtarget_inspect.analysis.identification.result import UNKNOWN_LAW, Formula, Identification
from qtarget_inspect.analysis.identification.samples import Samples, join_samples
from qtarget_inspect.analysis.identification.states import (
    dense_states,
    fit_states,
    held_back_states,
    some_tokens,
    wide_states,
)
from qtarget_inspect.analysis.identification.support import Support, find_support
from qtarget_inspect.analysis.identification.weights import Weights, weights_over, with_number_doubt
from qtarget_inspect.analysis.identification.wording import residual_formula, warnings_of
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import BatchError, QTargetError
from qtarget_inspect.vocabulary import directions
from qtarget_inspect.vocabulary.directions import Direction
from qtarget_inspect.vocabulary.formula import Law
from qtarget_inspect.vocabulary.preference_laws import is_preference
from qtarget_inspect.vocabulary.pulls import LABEL, Pull, PullGauge, Pulls, natural_gauge, total_pull

HELD_BACK_SHARE = 3
"""Every so-manieth token of a user's batch is held back."""

STEP = 1e-6
"""Relative step in a number of the directions, for how much the weights hang on it."""

NUMBER_DOUBT = {torch.float64: 4e-13, torch.float32: 4e-6}
"""How far, relatively, an estimated number of the directions may be off."""

LARGE = 4096
"""Vocabularies above this are large."""

PREDICTED = {torch.float64: 1e-9, torch.float32: 2e-4}
"""How far, per unit of a row's size, the laws' gradient may be off the loss's on any token."""


def identify(loss: Any, batch: TokenBatch | None = None, *, reduction: str | float = "auto") -> Identification:
    """Name a black box: its pulls g = sum_j a_j d_j, the law of every weight a_j, and so its row of the table.

    The loss is called and differentiated, never read. First the fewest directions are found whose span holds the
    gradient of every probe state; numbers in them (a power, a temperature, a share) are estimated. Then each weight
    gets the simplest law that predicts it on states held back, on vocabularies that no law was fitted to: a constant, a
    power of p_y, an entropy, a saturating or focal weight, products and sums of few of these, between clips or behind a
    threshold, which is bisected to rounding by calling the loss again. Where no law predicts a weight it is "unknown
    law", and `.table()` shows the weight. A loss that casts to float32 is judged against that rounding.

    Args:
        loss: any loss that `invert` takes.
        batch: N tokens to use instead of the made-up states; a third of them is held back, and a threshold is then
            known to the interval between two tokens. Of a batch of more than 4 million logits a part is looked at.
        reduction: as in `invert`.

    Returns:
        What was found; it predicts gamma [N] and Q [N, V] of other tokens without the loss.

    Raises:
        BatchError: `batch` is no TokenBatch.
        QTargetError: as `invert`; a loss that is bound to one vocabulary needs a batch.

    Examples:
        >>> def my_loss(logits, labels):
        ...     logp = logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)
        ...     return -logp.exp().detach().sqrt() * logp
        >>> found = identify(my_loss)
        >>> found.gamma_law.text, found.residual.text, found.category, found.gauge
        ('p_y^0.5', 'model', 'label trust', 'unit')
        >>> found.nearest[0].text
        'beyond-log(alpha=0.5): the same gradient'
        >>> identify("asft").gamma_law.text
        'p_y / (p_y + 0.05)'
    """
    if batch is not None and not isinstance(batch, TokenBatch):
        raise BatchError(
            f"identify: batch must be a TokenBatch, not {type(batch).__name__}: qt.TokenBatch(logits, labels)."
        )
    box, observations, held = _look(loss, batch, reduction)
    support = find_support(
        [one.rows((~mask).nonzero().flatten()) for one, mask in zip(observations, held, strict=True)], box.context
    )
    return _name(box, observations, held, support, ask_again=batch is None)


def _look(
    loss: Any, batch: TokenBatch | None, reduction: str | float
) -> tuple[BlackBox, list[Observation], list[Tensor]]:
    """The loss's gradient on all states, and which tokens of each batch are held back."""
    if batch is not None:
        few = some_tokens(batch)
        try:
            return _look_at(loss, few, reduction)
        except QTargetError:
            if len(few) == len(batch):
                raise
            return _look_at(loss, batch, reduction)  # it holds something of all rows
    box = black_box_on_probes(loss, fit_states(torch.float64)[0], reduction)
    fit, back = fit_states(box.precision), held_back_states(box.precision)
    observations = observe_probes(box, [*fit, *back])
    held = [torch.full((len(one),), i >= len(fit)) for i, one in enumerate([*fit, *back])]
    return box, observations, held


def _look_at(loss: Any, batch: TokenBatch, reduction: str | float) -> tuple[BlackBox, list[Observation], list[Tensor]]:
    """The loss's gradient on a user's tokens, a third of which are held back."""
    batch = batch.to(torch.float64)
    box = black_box(loss, batch, reduction, ask_again=False)
    return box, [observe(box, batch)], [torch.arange(len(batch)) % HELD_BACK_SHARE == 1]


def _name(
    box: BlackBox, observations: Sequence[Observation], held: Sequence[Tensor], support: Support, ask_again: bool
) -> Identification:
    """Find the laws over a support, and say all of it."""
    mask = torch.cat(list(held)).numpy()
    weights = _weights(box, observations, support)
    targets = [one.target for one in observations if one.target is not None]
    random = any("two calls differ" in note for target in targets for note in target.notes)
    blind = random or box.half is not None  # nothing that a law could be held against
    same = coincident_models(observations, box.context)
    everything = join_samples([one.state for one in observations], mask, box.eps)
    samples = {
        direction.name: everything.with_values(
            weights.values[direction.name],
            # a pull to a model that is the student itself is nothing but rounding, and spoils the others by as much
            weights.sigma[direction.name] + (32 * box.eps if same else 0.0),
        )
        for direction in support.directions
    }
    found: dict[str, FoundLaw | None] = {}
    if support.explained and not blind:
        support, weights, samples = _simpler_twin(observations, support, weights, samples)
        found = _laws(box, observations, support, samples, ask_again)
        found = _borne_out(box, observations, support, found, ask_again)
    live = [direction for direction in support.directions if not _is_zero(found.get(direction.name))]
    unknown = tuple(direction.name for direction in live if found.get(direction.name) is None)
    numbers = {name: one.numbers for name, one in found.items() if one is not None}
    pulls = Pulls(tuple(Pull(d, _law_or_unknown(found.get(d.name))) for d in live)) if live else None
    known = {d.name: d for d in live}
    values = _values(observations, live, found, weights)
    gauge: PullGauge = natural_gauge(known, values, _zero_tolerance(box)) if live else "unit"
    requires = tuple(dict.fromkeys(name for one in found.values() if one is not None for name in one.law.requires))
    explained = support.explained and not blind
    paired = any(one is not None and is_preference(one.law) for one in found.values())
    category = categories.UNKNOWN
    if explained:
        category = categories.category_of(known, values, gauge, requires, paired, _steadiness(box))
    gamma, residual = _formulas(pulls, gauge, unknown, values, known) if explained else (_UNKNOWN, _UNKNOWN_RESIDUAL)
    gamma_numbers, residual_numbers = _numbers(support, numbers, gauge)
    return Identification(
        name=box.name,
        category=category,
        gauge=gauge,
        gamma_law=gamma,
        gamma_params=gamma_numbers,
        residual=residual,
        residual_params=residual_numbers,
        pulls=pulls if explained else None,
        unknown=unknown,
        unexplained=_left(observations, pulls, unknown, weights) if explained else support.share,
        precision=box.half or box.precision,
        warnings=warnings_of(targets[0], support, unknown, samples, found, box.half, random, ask_again, same),
        nearest=nearest_variants(box, _small(box, observations), numbers, support.numbers),
        states=_states_in_words(observations, mask, ask_again),
        tokens=token_table(observations, mask, weights, found),
        twins=support.twins,
    )


_UNKNOWN = Formula(UNKNOWN_LAW, r"\text{unknown law}")
_UNKNOWN_RESIDUAL = Formula("unknown", r"\text{unknown}")


def _weights(box: BlackBox, observations: Sequence[Observation], support: Support) -> Weights:
    """The weights over a support, less certain where a number in it is."""

    def over(chosen: Sequence[Direction]) -> Weights:
        return Weights.join([weights_over(one, chosen) for one in observations])

    if support.remake is None:
        return over(support.directions)
    (number,) = support.numbers.values()
    size = max(abs(number), 0.1)
    lost = [direction for direction in support.directions if direction.kind == "nowhere"]
    more, less = (over([*support.remake(number + sign * STEP * size), *lost]) for sign in (1, -1))
    return with_number_doubt(over(support.directions), (more, less), STEP * size, NUMBER_DOUBT[box.precision] * size)


def _simpler_twin(
    observations: Sequence[Observation], support: Support, weights: Weights, samples: dict[str, Samples]
) -> tuple[Support, Weights, dict[str, Samples]]:
    """Away from the label is toward the model without it: collinear, and said so where that pull is a constant one."""
    twin = directions.others()
    if [direction.name for direction in support.directions] != [LABEL] or constant_law(samples[LABEL]) is not None:
        return support, weights, samples
    joined = Weights.join([weights_over(one, (twin,)) for one in observations])
    own = samples[LABEL].with_values(joined.values[twin.name], joined.sigma[twin.name])
    if not own.enough or constant_law(own) is None:
        return support, weights, samples
    return replace(support, directions=(twin,), twins=((LABEL,),)), joined, {twin.name: own}


def _laws(
    box: BlackBox,
    observations: Sequence[Observation],
    support: Support,
    samples: dict[str, Samples],
    ask_again: bool,
) -> dict[str, FoundLaw | None]:
    """The law of every weight, None where none predicts it."""
    largest = max(one.batch.vocabulary for one in observations)
    known = library(box.context, support.directions, support.numbers, largest)
    states = [one.state for one in observations]
    found = {}
    if samples:
        fill_top_k(next(iter(samples.values())), box.context)
    for direction in support.directions:
        name = direction.name
        locate = make_locate(box, states, support.directions, name) if ask_again else None
        found[name] = find_law(samples[name], Search(known, box.context, locate))
    return found


def _borne_out(
    box: BlackBox,
    observations: Sequence[Observation],
    support: Support,
    found: dict[str, FoundLaw | None],
    ask_again: bool,
) -> dict[str, FoundLaw | None]:
    """The laws, if together they predict the gradient of every token, and of thousands and wilder ones besides."""
    laws = [found[direction.name] for direction in support.directions]
    if any(law is None for law in laws):
        return found
    terms = [Pull(d, law.law) for d, law in zip(support.directions, laws, strict=True) if law is not None]
    pulls = Pulls(tuple(terms)) if terms else None
    others = [dense_states(box.precision), wide_states(box.precision)] if ask_again else []
    usual = 0.0
    for one in [*observations, *observe_probes(box, others)]:
        weights = pulls.weights(one.state) if pulls else {}
        predicted = pulls.gradient(one.state, weights) if pulls else torch.zeros_like(one.gradient)
        # a weight of 1e7, as 1 / (1 - P) has it, is known to as many digits as one of 1; one near 0 to the usual size's
        pull = torch.stack([torch.zeros_like(predicted[:, 0]), *(weight.abs() for weight in weights.values())]).amax(0)
        usual = usual or float(pull.median())
        size = torch.maximum(predicted.abs().amax(-1), pull).clamp(min=usual)
        if bool(((predicted - one.gradient).abs().amax(-1) > PREDICTED[box.precision] * size).any()):
            return dict.fromkeys(found)
    return found


def _left(observations: Sequence[Observation], pulls: Pulls | None, unknown: Sequence[str], weights: Weights) -> float:
    """Largest entry of Q that is left: by the laws where all are known, else by the directions."""
    if pulls is None or unknown:
        return float(weights.unexplained.max())
    parts = [pulls.gradient(one.state, pulls.weights(one.state)) - one.gradient for one in observations]
    return max(float(part.abs().max()) for part in parts)


def _is_zero(found: FoundLaw | None) -> bool:
    return found is not None and found.law.number == 0


def _law_or_unknown(found: FoundLaw | None) -> Law:
    return found.law if found is not None else Law(UNKNOWN_LAW, r"\text{unknown}", _refuse)


def _refuse(state: Any) -> Tensor:
    raise BatchError("no law was found for this weight.")


def _values(
    observations: Sequence[Observation],
    live: Sequence[Direction],
    found: dict[str, FoundLaw | None],
    weights: Weights,
) -> dict[str, Tensor]:
    """[N] weights by their laws, or as they were measured, on tokens where all of them are determined."""
    rows = np.ones(len(weights.unexplained), dtype=bool)
    for direction in live:
        if found.get(direction.name) is None:  # a measured weight counts where it is known to some digits
            sigma, measured = weights.sigma[direction.name], weights.values[direction.name]
            known = np.isfinite(sigma)
            rows &= known & (sigma <= 1e-3 * max(float(np.abs(measured[known]).max(initial=0.0)), 1e-300))
    values = {}
    for direction in live:
        law = found.get(direction.name)
        whole = torch.from_numpy(weights.values[direction.name])
        if law is not None:
            whole = torch.cat([law.law(one.state) for one in observations])
        values[direction.name] = whole[torch.from_numpy(rows)]
    return values


def _zero_tolerance(box: BlackBox) -> float:
    return 1e-9 if box.precision == torch.float64 else 1e-4


def _steadiness(box: BlackBox) -> float:
    return categories.STEADY if box.precision == torch.float64 else 1e-4


def _formulas(
    pulls: Pulls | None,
    gauge: PullGauge,
    unknown: Sequence[str],
    values: dict[str, Tensor],
    known: dict[str, Direction],
) -> tuple[Formula, Formula]:
    """gamma and residual as the pulls say them."""
    if pulls is None:
        return Formula("0", "0"), Formula("model", "p")
    total = total_pull(known, values)
    if _is_one(total):
        total = torch.ones_like(total)
    law = pulls.gamma_law(gauge, total)
    needed = {LABEL} if gauge == "unit" or _is_one(total) else set(known)
    gamma = _UNKNOWN if needed & set(unknown) else Formula(law.text, law.latex)
    return gamma, residual_formula(pulls, gauge, total)


def _is_one(total: Tensor) -> bool:
    """Whether the total pull is 1 on every token, up to rounding."""
    return bool(((total - 1).abs() < 1e-6).all()) if total.numel() else False


def _numbers(
    support: Support, numbers: Mapping[str, Mapping[str, Any]], gauge: PullGauge
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Numbers of gamma (those of the label's weight, and in the normalized gauge of all), and of the residual."""
    gamma = dict(numbers.get(LABEL, {}))
    residual: dict[str, Any] = dict(support.numbers)
    for name, own in numbers.items():
        if name != LABEL:
            residual |= {f"{name}: {key}": value for key, value in own.items()}
    if gauge == "normalized":
        gamma |= {key: value for key, value in residual.items() if key not in support.numbers}
    return gamma, residual


def _small(box: BlackBox, observations: Sequence[Observation]) -> Sequence[Observation]:
    """States to compare many registered losses on: made-up ones where a user's vocabulary is large, if they work."""
    if max(one.batch.vocabulary for one in observations) <= LARGE:
        return observations
    try:
        return [observe(box, batch) for batch in fit_states(box.precision)]
    except QTargetError:
        return observations


def _states_in_words(observations: Sequence[Observation], held: np.ndarray, made: bool) -> str:
    sizes = ", ".join(str(one.batch.vocabulary) for one in observations)
    what = "probe states" if made else "tokens of your batch"
    return f"{int((~held).sum())} {what} fitted, {int(held.sum())} held back; V = {sizes}"
