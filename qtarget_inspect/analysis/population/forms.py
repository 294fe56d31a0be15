"""Forms: a learned distribution in words, q*^2 / Z say, named only where it holds for other q* as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qtarget_inspect.analysis.population.field import SEED, Population, random_states
from qtarget_inspect.analysis.population.points import FixedPoint, short
from qtarget_inspect.analysis.population.tolerances import STATIONARY, SUPPORT, TV_EQUAL
from qtarget_inspect.analysis.population.verdict import total_variation
from qtarget_inspect.core.errors import LossError

HELD_BACK = 3
"""Other q* on which a form has to be a stationary point, too, before it is named."""

ONLY_THIS_ONE = "q* (not every q*)"
"""Where p is q* and need not be for another."""

MODELS = ("teacher", "reference", "old")


@dataclass(frozen=True)
class Form:
    """A closed form of what is learned.

    Args:
        text: in words.
        predict: function of q* [V] to p [V].
    """

    text: str
    predict: Callable[[Tensor], Tensor]


def in_words(point: FixedPoint, population: Population) -> str:
    """What a point is: a closed form in q* and the given models, fitted here and held against other q*.

    Tried in this order: q*; the teacher, reference or old policy; a power of q*; mixtures of q* with the uniform and
    with each model; a model times a power of 1 - q*. A fitted form counts where it gives p within the tolerance of
    "proper", and is a zero of E[g] for three other q*. A vertex is named by its token.

    Args:
        point: a stable point.
        population: loss, labels and context.

    Returns:
        The form; "q* (not every q*)" where p is q* and need not be for another; otherwise p itself in digits.
    """
    q_star, p = population.setting.q_star, point.p
    if point.kind == "continuum":
        return f"a continuum, {short(p)} on it"
    if point.kind == "vertex":
        token = int(p.argmax())
        likeliest = int((q_star == q_star.max()).sum()) == 1 and token == int(q_star.argmax())
        return f"the vertex of token {token}" + (", argmax q*" if likeliest else "")
    if bool((q_star <= SUPPORT[population.dtype]).any()) or bool((p == 0).any()):
        return "q*" if total_variation(p, q_star) <= TV_EQUAL[population.dtype] else short(p)
    for form in _forms(p, population):
        if total_variation(form.predict(q_star), p) <= TV_EQUAL[population.dtype] and _holds(form, population):
            return form.text
    return ONLY_THIS_ONE if total_variation(p, q_star) <= TV_EQUAL[population.dtype] else short(p)


def _forms(p: Tensor, population: Population) -> Iterator[Form]:
    """Candidates, simplest first; what is fitted is fitted to p."""
    q_star, context = population.setting.q_star, population.setting.context
    models = {name: context[f"{name}_logits"].softmax(-1) for name in MODELS if f"{name}_logits" in context}
    yield Form("q*", lambda q: q)
    for name, model in models.items():
        yield Form(name, lambda q, model=model: model)  # type: ignore[misc]
    power = _slope(q_star.log(), p.log())
    yield Form(f"q*^{power:.4g} / Z", lambda q: _normalised(q**power))
    for name, model in {"uniform": torch.full_like(q_star, 1 / len(q_star)), **models}.items():
        share = _slope(model - q_star, p - q_star, centred=False)
        text = f"{1 - share:.4g} q* + {share:.4g} {name}"
        yield Form(text, lambda q, model=model, share=share: (1 - share) * q + share * model)  # type: ignore[misc]
    for name, model in models.items():
        if bool((q_star < 1).all()):
            c = _slope((1 - q_star).log(), p.log() - model.log())
            text = f"{name} (1 - q*)^{c:.4g} / Z"
            yield Form(text, lambda q, model=model, c=c: _normalised(model * (1 - q) ** c))  # type: ignore[misc]


def _holds(form: Form, population: Population) -> bool:
    """Whether the form is a zero of E[g] for other q*, too."""
    for q in random_states(HELD_BACK, population.setting.vocabulary, SEED + 2):
        setting = replace(population.setting, q_star=q, labels=torch.arange(len(q)))
        p = form.predict(q)
        if not bool((p > 0).all()):
            return False
        try:
            flow, size = replace(population, setting=setting).field(1)(p.log().unsqueeze(0))
        except LossError:
            return False
        if float(flow.abs().max()) > 100 * STATIONARY[population.dtype] * float(size[0]):
            return False
    return True


def _slope(x: Tensor, y: Tensor, centred: bool = True) -> float:
    """Least-squares slope of y on x, with an intercept where `centred`; 0 where x does not vary."""
    if centred:
        x, y = x - x.mean(), y - y.mean()
    spread = float(x.square().sum())
    return float((x * y).sum()) / spread if spread > 0 else 0.0


def _normalised(weights: Tensor) -> Tensor:
    return weights / weights.sum()
