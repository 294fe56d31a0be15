"""Gate laws: label trusts beyond the paper's, of the label's probability, of the model's shape, of a frozen prior."""

from __future__ import annotations

from torch import Tensor

from qtarget_inspect.core import numerics
from qtarget_inspect.core.state import MODEL, State
from qtarget_inspect.vocabulary import quantities
from qtarget_inspect.vocabulary.formula import DIGITS, Binding, Law, clipped, constant
from qtarget_inspect.vocabulary.laws import label_prob
from qtarget_inspect.vocabulary.numerals import rounded, rounded_latex
from qtarget_inspect.vocabulary.policy_laws import label_log_ratio


def focal_trust(focusing: float) -> Law:
    """Focal loss: (1-p)^f - f p (1-p)^(f-1) log p, p = p_y; above 1 for some p_y.

    Args:
        focusing: f >= 0; 0 is the constant 1.

    Returns:
        The law, >= 0.
    """
    if focusing == 0:
        return constant(1.0)

    def value(state: State) -> Tensor:
        log_p, p, rest = state.log_p_label, state.p_label, state.one_minus_p_label
        surprise = numerics.expectation(p.unsqueeze(-1), log_p.unsqueeze(-1))  # p log p, 0 at p = 0
        certain = rest == 0  # there log p is -rest to rounding, and the product rest^f
        power = (rest.where(~certain, 1.0)) ** (focusing - 1)
        return (rest**focusing - focusing * power * surprise).where(~certain, 0.0)

    factor = "" if focusing == 1 else rounded(focusing, DIGITS)
    mass, below = (_other_mass(power, "{}") for power in (focusing, focusing - 1))
    mass_latex, below_latex = (_other_mass(power, "{{{}}}") for power in (focusing, focusing - 1))
    text = f"{mass} - " + " ".join(filter(None, (factor, "p_y", below, "log p_y")))
    latex = f"{mass_latex} - " + r"\,".join(filter(None, (factor, "p_y", below_latex, r"\log p_y")))
    return Law(text, latex, value, binding=Binding.SUM, row_local=True)


def _other_mass(power: float, exponent: str) -> str:
    """(1 - p_y) to a power, the exponent written in a format; nothing at power 0."""
    if power in (0, 1):
        return "(1-p_y)" if power == 1 else ""
    return "(1-p_y)^" + exponent.format(rounded(power, DIGITS))


def label_prob_at_least(threshold: float) -> Law:
    """Indicator 1[p_y >= t]: `label_prob_above` with the threshold itself.

    Args:
        threshold: t in [0, 1].

    Returns:
        The law, 0 or 1.
    """
    return Law(
        f"1[p_y >= {rounded(threshold, DIGITS)}]",
        rf"\mathbf{{1}}[p_y \ge {rounded_latex(threshold, DIGITS)}]",
        lambda s: (s.p_label >= threshold).to(s.dtype),
        row_local=True,
    )


def label_prob_at_most(threshold: float) -> Law:
    """Indicator 1[p_y <= t].

    Args:
        threshold: t in [0, 1].

    Returns:
        The law, 0 or 1.
    """
    return Law(
        f"1[p_y <= {rounded(threshold, DIGITS)}]",
        rf"\mathbf{{1}}[p_y \le {rounded_latex(threshold, DIGITS)}]",
        lambda s: (s.p_label <= threshold).to(s.dtype),
        row_local=True,
    )


def saturated_label_prob(ratio_threshold: float, minimum: float = 0.0) -> Law:
    """TaiLr: max(p_y / (r + (1-r) p_y), m).

    Args:
        ratio_threshold: r in [0, 1]; 0 is the constant 1, 1 is p_y.
        minimum: m in [0, 1].

    Returns:
        The law, in [m, 1].
    """
    if ratio_threshold == 0:
        return constant(1.0)
    law = label_prob()
    if ratio_threshold != 1:
        law = law / (ratio_threshold + (1 - ratio_threshold) * law)
    if minimum == 0:
        return law
    return clipped(law, low=minimum)


def label_prob_to_concentration() -> Law:
    """DEFT: p_y^c, c = sum_k p_k^2, the model's own concentration (exp of minus its Rényi-2 entropy).

    Returns:
        The law, in [0, 1].
    """

    def value(state: State) -> Tensor:
        concentration = state.per_token("concentration", lambda rows: rows.p.square().sum(-1))
        return (concentration * state.log_p_label).exp()

    return Law("p_y^sum(p^2)", r"p_y^{\sum_k p_k^2}", value, row_local=True)


def label_support_at_least(threshold: float, model: str = "reference_logits") -> Law:
    """PriFT-mass: 1[u >= t], u another model's mass on the label and on all that is less likely.

    Args:
        threshold: t in [0, 1].
        model: which context model.

    Returns:
        The law, 0 or 1.
    """

    def support(rows: State) -> Tensor:
        b = rows.probabilities(model)
        own = b.gather(-1, rows.labels.unsqueeze(-1))
        return (b * (b < own)).sum(-1) + own.squeeze(-1)

    own, least = quantities.label_prob(model), rounded(threshold, DIGITS)
    return Law(
        f"1[mass up to {own.text} >= {least}]",
        rf"\mathbf{{1}}[\textstyle\sum_{{k\preceq y}} {own.latex} \ge {least}]",
        lambda s: (s.per_token(("label_support", model), support) >= threshold).to(s.dtype),
        (model,),
        row_local=True,
    )


def clipped_ratio(low: float, high: float, of: str = "reference_logits") -> Law:
    """Importance ratio of a token, clipped on both sides: clip(p_y / b_y, low, high).

    Unlike `ratio_below`, what is outside keeps a weight, that of the clip.

    Args:
        low: the least weight.
        high: the largest.
        of: which context model stands below the line.

    Returns:
        The law, in [low, high].
    """

    def value(state: State) -> Tensor:
        return label_log_ratio(state, of).exp().clamp(low, high)

    ratio, ends = quantities.label_ratio(of), f"{rounded(low, DIGITS)}, {rounded(high, DIGITS)}"
    return Law(f"clip({ratio.text}, {ends})", rf"\mathrm{{clip}}({ratio.latex}, {ends})", value, (of,), row_local=True)


def top_k_entropy(top_k: int) -> Law:
    """Uncertainty in nats: entropy of the renormalised top k, divided by nothing; k is cut to V.

    Args:
        top_k: k.

    Returns:
        The law, in [0, ln k].
    """
    return Law(f"H_{top_k}", f"H_{{{top_k}}}", lambda s: s.top_k_entropy(top_k), row_local=True)


def log_partition() -> Law:
    """log Z = logsumexp(z), which depends on the offset of the logits (z-loss).

    Returns:
        The law, in nats, of either sign.
    """

    def value(state: State) -> Tensor:
        return state.per_token("log_partition", lambda rows: rows.context(MODEL).logsumexp(-1))

    return Law("log Z", r"\log Z", value, row_local=True)
