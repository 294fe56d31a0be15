"""What an inspection's page is drawn from: a sweep, one token's target, and the flow on three tokens."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

from qtarget_inspect.analysis.population.summary import Q_STAR, example_models
from qtarget_inspect.analysis.simplex.field import simplex_field
from qtarget_inspect.analysis.sweeps import LABEL_TOKEN, OTHER_TOKEN, sweep, sweep_states, teacher_token
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.inspection.reading import attractor_reading, shown_reading
from qtarget_inspect.tables.target_table import target_table
from qtarget_inspect.variants.variant import CATEGORIES

if TYPE_CHECKING:
    import pandas as pd

    from qtarget_inspect.inspection.result import Inspection
    from qtarget_inspect.plots.inspection_page import PageData

P_LABEL = 0.3
"""p_y of the made-up token whose target is drawn."""

VOCABULARY = 32

Part = TypeVar("Part")


def page_data(seen: Inspection, token: int | None) -> PageData:
    """Everything that the page shows, with reasons for what cannot be had.

    Args:
        seen: the inspection.
        token: which of its tokens, None for a made-up one.

    Returns:
        The data of the page.
    """
    from qtarget_inspect.plots.inspection_page import PageData

    missing: dict[str, str] = {}

    def had(name: str, make: Callable[[], Part]) -> Part | None:
        try:
            return make()
        except QTargetError as error:
            missing[name] = str(error).splitlines()[0]
            return None

    curves = had("sweep", lambda: sweep(seen.loss, gauge=seen.reading.gauge))
    target = had("target", lambda: _made_up_target(seen)) if token is None else None
    state = f"a made-up token of $p_y$ = {P_LABEL}"
    if target is None:  # the loss is bound to the tokens that it was inspected on, or one of these is asked for
        chosen = int((seen.target.p_label - P_LABEL).abs().argmin()) if token is None else token
        target = target_table(seen.reading, chosen)
        state = f"token {target['position'].iloc[0]} of those inspected"
    models: dict[str, Any] = {**example_models(len(Q_STAR))}
    field = had("field", lambda: simplex_field(seen.loss, q_star=Q_STAR, **models))
    return PageData(seen.name, seen.headline(), _category(seen), curves, target, state, field, missing)


def page_in_html(seen: Inspection) -> str:
    """The page as an image that stands in the text, for a notebook.

    Args:
        seen: the inspection.

    Returns:
        An `<img>` with the picture in it.
    """
    picture = b64encode(seen.plot(layout="strip")._repr_png_()).decode()
    words = f"{seen.name}: label trust and gradient against p_y, a target on one token, the flow on three tokens"
    return f'<img alt="{escape(words)}" src="data:image/png;base64,{picture}" style="max-width:100%">'


def _category(seen: Inspection) -> str:
    """The variant's; for other losses the one that was found, "" where it is none of the categories."""
    if seen.variant is not None:
        return seen.variant.category
    found = seen.identification.category if seen.identification is not None else ""
    return found if found in CATEGORIES else ""


def _made_up_target(seen: Inspection) -> pd.DataFrame:
    """The target on a made-up token, read as the inspection reads; two more tokens tell a mean from a sum."""
    states = sweep_states([P_LABEL, 0.05, 0.9], vocabulary=VOCABULARY)
    reading = shown_reading(attractor_reading(invert(seen.loss, states), seen.identification))
    names = {LABEL_TOKEN: "label", OTHER_TOKEN: "favourite", teacher_token(VOCABULARY): "teacher's"}
    target = target_table(reading, 0)
    return target.assign(token=[names.get(entry, f"other {entry}") for entry in target["entry"]])
