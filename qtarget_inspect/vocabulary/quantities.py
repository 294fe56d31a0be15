"""Quantities: the numbers of a state that a trust law can be made of, each with its logarithm, formula and rounding."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from qtarget_inspect.core import numerics
from qtarget_inspect.core.state import MODEL, State, sequence_mean
from qtarget_inspect.vocabulary.formula import DIGITS, Binding, Law, constant
from qtarget_inspect.vocabulary.numerals import rounded, rounded_latex

_SYMBOLS = {
    "reference_logits": ("ref", r"\pi_{\mathrm{ref}}"),
    "teacher_logits": ("teacher", r"\pi_T"),
    "old_logits": ("old", r"\pi_{\mathrm{old}}"),
}


@dataclass(frozen=True)
class Quantity:
    """A positive number of every token, kept as its logarithm, so that powers of it stay exact.

    Args:
        text: formula in plain text; quantities are told apart by it.
        latex: formula in LaTeX.
        log: function of a state to the [N] logarithms; -inf where the quantity is 0.
        noise: function of a state to [N]: by how many units of the machine precision a straightforward computation of
            the quantity is off, relatively. 1 - p_y computed as it stands is off by 1 / (1 - p_y) units.
        requires: context it needs.
        fraction: whether the text is a quotient, for parentheses.

    Examples:
        >>> import torch
        >>> from qtarget_inspect.core.batch import TokenBatch
        >>> state = State(TokenBatch(torch.zeros(1, 4), torch.tensor([2])))
        >>> label_prob().law()(state), label_prob().law(0.5).text
        (tensor([0.2500]), 'p_y^0.5')
    """

    text: str
    latex: str
    log: Callable[[State], Tensor] = field(repr=False)
    noise: Callable[[State], Tensor] = field(repr=False)
    requires: tuple[str, ...] = ()
    fraction: bool = False

    def law(self, exponent: float = 1.0) -> Law:
        """The quantity to a power, as a law.

        Args:
            exponent: the power; 0 is the constant 1.

        Returns:
            The law.
        """
        if exponent == 0:
            return constant(1.0)
        local = "sequence_ids" not in self.requires
        text, latex, shown = self.text, self.latex, exponent
        if self.fraction and exponent < 0:  # ref_y/p_y rather than (p_y/ref_y)^-1
            text, latex, shown = "/".join(reversed(text.split("/"))), "/".join(reversed(latex.split("/"))), -exponent
        binding = Binding.QUOTIENT if self.fraction else Binding.SUM if " - " in text else Binding.ATOM
        if shown != 1:
            whole = not self.fraction and (" " not in text or text.startswith("("))
            base, base_latex = (text, latex) if whole else (f"({text})", f"({latex})")
            text = f"{base}^{rounded(shown, DIGITS)}"
            latex, binding = f"{base_latex}^{{{rounded_latex(shown, DIGITS)}}}", Binding.ATOM
        return Law(text, latex, lambda s: (exponent * self.log(s)).exp(), self.requires, binding, row_local=local)


def _log_size(state: State, log: Tensor) -> Tensor:
    """Rounding of a probability that is the exponential of a log-probability."""
    return 2 + log.abs()


def label_prob(of: str = MODEL) -> Quantity:
    """Probability of the label: p_y, ref_y, teacher_y, old_y."""
    return Quantity(
        *_label_symbols(of),
        lambda s: s.log_prob_of_label(of),
        lambda s: _log_size(s, s.log_prob_of_label(of)),
        () if of == MODEL else (of,),
    )


def _label_symbols(of: str) -> tuple[str, str]:
    if of == MODEL:
        return "p_y", "p_y"
    return f"{_SYMBOLS[of][0]}_y", f"{_SYMBOLS[of][1]}(y)"


def label_doubt(of: str = MODEL) -> Quantity:
    """1 - p_y, exact where p_y rounds to 1, and the same of another model."""
    text, latex = _label_symbols(of)

    def log(state: State) -> Tensor:
        return state.per_token(
            ("log_one_minus_label", of),
            lambda rows: numerics.log_one_minus_label_prob(rows.context(of), rows.labels),
        )

    return Quantity(
        f"1 - {text}", f"1 - {latex}", log, lambda s: 2 + (-log(s)).exp(), () if of == MODEL else (of,), False
    )


def surprisal() -> Quantity:
    """-log p_y, the loss of SFT itself."""
    return Quantity(
        "(-log p_y)",
        r"(-\log p_y)",
        lambda s: (-s.log_p_label).log(),
        lambda s: 4 + 4 / (-s.log_p_label),
    )


def label_ratio(of: str) -> Quantity:
    """Importance ratio of the label: p_y / ref_y."""
    text, latex = _label_symbols(of)

    def log(state: State) -> Tensor:
        return state.log_p_label - state.log_prob_of_label(of)

    def noise(state: State) -> Tensor:
        return 4 + state.log_p_label.abs() + state.log_prob_of_label(of).abs()

    return Quantity(f"p_y/{text}", rf"p_y/{latex}", log, noise, (of,), True)


def sequence_label_prob(of: str = MODEL) -> Quantity:
    """Geometric mean of the label's probability over a token's sequence."""
    text, latex = _label_symbols(of)

    def log(state: State) -> Tensor:
        return sequence_mean(state.log_prob_of_label(of), state.context("sequence_ids"))

    return Quantity(
        f"mean_seq({text})",
        rf"\overline{{{latex}}}",
        log,
        lambda s: 4 + 2 * log(s).abs(),
        ("sequence_ids",) if of == MODEL else (of, "sequence_ids"),
    )


def sequence_doubt() -> Quantity:
    """1 - P, P the geometric mean of the label's probability over a token's sequence."""

    def log(state: State) -> Tensor:
        mean = sequence_mean(state.log_p_label, state.context("sequence_ids"))
        return (-torch.expm1(mean)).log()

    return Quantity("1 - mean_seq(p_y)", r"1 - \overline{p_y}", log, lambda s: 4 + (-log(s)).exp(), ("sequence_ids",))


def sequence_ratio(of: str) -> Quantity:
    """Length-normalised importance ratio of a trajectory, exp(mean_t log p_y / ref_y)."""
    name, latex = _SYMBOLS[of]

    def log(state: State) -> Tensor:
        return sequence_mean(state.log_p_label - state.log_prob_of_label(of), state.context("sequence_ids"))

    def noise(state: State) -> Tensor:
        ids = state.context("sequence_ids")
        return 4 + 2 * sequence_mean(state.log_p_label.abs() + state.log_prob_of_label(of).abs(), ids)

    return Quantity(f"w(tau; {name})", rf"w(\tau; {latex})", log, noise, (of, "sequence_ids"))


def sequence_length() -> Quantity:
    """Number of tokens of a token's sequence."""

    def log(state: State) -> Tensor:
        _, index, counts = torch.unique(state.context("sequence_ids"), return_inverse=True, return_counts=True)
        return counts.to(state.dtype).log()[index]

    return Quantity("|tau|", r"|\tau|", log, lambda s: torch.ones_like(log(s)), ("sequence_ids",))


def entropy() -> Quantity:
    """Entropy of p, nats."""
    return Quantity("H", "H", lambda s: s.entropy.log(), lambda s: 4 + 8 / s.entropy)


def normalized_entropy() -> Quantity:
    """Entropy of p over its maximum log V, in [0, 1]."""
    return Quantity(
        "H/ln V",
        r"H/\ln V",
        lambda s: (s.entropy / math.log(s.batch.vocabulary)).log(),
        lambda s: 4 + 8 / s.entropy,
        fraction=True,
    )


def top_k_entropy(top_k: int) -> Quantity:
    """Entropy of the renormalised top k of p, nats; k is cut to V."""
    return Quantity(
        f"H_{top_k}",
        f"H_{{{top_k}}}",
        lambda s: s.top_k_entropy(top_k).log(),
        lambda s: 4 + 8 / s.top_k_entropy(top_k),
    )


def normalized_top_k_entropy(top_k: int) -> Quantity:
    """Entropy of the renormalised top k of p over its maximum log k, in [0, 1]; k is cut to V in both places."""

    def log(state: State) -> Tensor:
        size = min(top_k, state.batch.vocabulary)
        return (state.top_k_entropy(top_k) / math.log(size)).log()

    return Quantity(
        f"H_{top_k}/ln {top_k}",
        rf"H_{{{top_k}}}/\ln {top_k}",
        log,
        lambda s: 4 + 8 / s.top_k_entropy(top_k),
        fraction=True,
    )


def top_k_mass(top_k: int, of: str = MODEL) -> Quantity:
    """What the k most likely tokens of a model hold together."""
    name, latex = ("p", "p") if of == MODEL else _SYMBOLS[of]

    def log(state: State) -> Tensor:
        def compute(rows: State) -> Tensor:
            best = rows.log_probs(of).topk(min(top_k, rows.batch.vocabulary), dim=-1).values
            return best.logsumexp(-1).clamp(max=0.0)  # a sum of probabilities, rounded above 1 at times

        return state.per_token(("top_k_mass", top_k, of), compute)

    return Quantity(
        f"{name}(top {top_k})",
        rf"{latex}(\mathrm{{top}}\,{top_k})",
        log,
        lambda s: 4 + (-log(s)).exp(),
        () if of == MODEL else (of,),
    )


def mass_up_to_label(of: str = MODEL) -> Quantity:
    """What a model holds on the label and on all tokens that it finds less likely."""
    text, latex = _label_symbols(of)

    def log(state: State) -> Tensor:
        def compute(rows: State) -> Tensor:
            log_b = rows.log_probs(of)
            own = log_b.gather(-1, rows.labels.unsqueeze(-1))
            below = torch.where(log_b < own, log_b, float("-inf")).logsumexp(-1)
            return torch.logaddexp(below, own.squeeze(-1)).clamp(max=0.0)

        return state.per_token(("mass_up_to_label", of), compute)

    return Quantity(
        f"mass up to {text}",
        rf"\textstyle\sum_{{k \preceq y}} {latex.split('(')[0]}",
        log,
        lambda s: 4 + (-log(s)).exp(),
        () if of == MODEL else (of,),
    )


def largest_prob(of: str = MODEL) -> Quantity:
    """Largest probability of a model."""
    name, latex = ("p", "p") if of == MODEL else _SYMBOLS[of]

    def log(state: State) -> Tensor:
        return state.per_token(("largest_prob", of), lambda rows: rows.log_probs(of).amax(-1))

    return Quantity(f"max {name}", rf"\max {latex}", log, lambda s: 2 + log(s).abs(), () if of == MODEL else (of,))


def collision_prob() -> Quantity:
    """sum_k p_k^2, the probability that two draws agree."""

    def log(state: State) -> Tensor:
        return state.per_token("log_collision", lambda rows: (2 * rows.log_p).logsumexp(-1))

    return Quantity("sum p^2", r"\|p\|^2", log, lambda s: 4 + log(s).abs())


def path_normalizer(eta: float, to: str, estimated: bool = False) -> Quantity:
    """Z = sum_k p_k^(1-eta) other_k^eta of the path to another model; less certain where eta is an estimate."""
    name, latex = _SYMBOLS[to]
    blur = 1e4 if estimated else 8.0

    def log(state: State) -> Tensor:
        def compute(rows: State) -> Tensor:
            return ((1 - eta) * rows.log_p + eta * rows.log_probs(to)).logsumexp(-1)

        return state.per_token(("path_normalizer", eta, to), compute)

    return Quantity(
        f"Z({rounded(eta)} to {name})",
        rf"Z_{{{rounded_latex(eta)}}}({latex})",
        log,
        lambda s: blur + log(s).abs(),
        (to,),
    )


def entropy_of(of: str) -> Quantity:
    """Entropy of another model, nats."""
    name, latex = _SYMBOLS[of]

    def value(state: State) -> Tensor:
        return state.per_token(("entropy", of), lambda rows: numerics.entropy(rows.log_probs(of)))

    return Quantity(f"H({name})", f"H({latex})", lambda s: value(s).log(), lambda s: 4 + 8 / value(s), (of,))


def normalized_entropy_of(of: str) -> Quantity:
    """Entropy of another model over its maximum log V, in [0, 1]."""
    plain, name, latex = entropy_of(of), *_SYMBOLS[of]
    return Quantity(
        f"H({name})/ln V",
        rf"H({latex})/\ln V",
        lambda s: plain.log(s) - math.log(math.log(s.batch.vocabulary)),
        plain.noise,
        (of,),
        True,
    )


def token_weight() -> Quantity:
    """`weights`, given from outside."""
    return Quantity(
        "weight",
        r"\omega_t",
        lambda s: s.context("weights").abs().log(),
        lambda s: torch.ones_like(s.context("weights")),
        ("weights",),
    )


def vocabulary_size() -> Quantity:
    """V, for sums over the vocabulary that no mean has made of."""

    def log(state: State) -> Tensor:
        return torch.full((len(state.batch),), math.log(state.batch.vocabulary), dtype=state.dtype)

    return Quantity("V", "V", log, lambda s: torch.ones_like(s.log_p_label))


def vocabulary_share() -> Quantity:
    """V / (V - 1): what a uniform over the other tokens gains over one over all."""

    def log(state: State) -> Tensor:
        size = state.batch.vocabulary
        return torch.full((len(state.batch),), math.log(size / (size - 1)), dtype=state.dtype)

    return Quantity("V/(V - 1)", "V/(V - 1)", log, lambda s: torch.ones_like(s.log_p_label), fraction=True)
