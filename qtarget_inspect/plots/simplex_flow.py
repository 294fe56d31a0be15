"""The triangle of three tokens: where a loss moves p, along which lines, and where p comes to rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import mpltern  # noqa: F401  registers the projection "ternary"
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.transforms import ScaledTranslation

from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.plots.style import INK, colour_of, figure_style, legible, plain, shaded
from qtarget_inspect.tables.method_titles import method_titles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from qtarget_inspect.analysis.population.points import FixedPoint
    from qtarget_inspect.analysis.simplex.edges import RestingEdge
    from qtarget_inspect.analysis.simplex.field import SimplexField

CORNERS = 3

_ARROW = 0.85
"""Length of the fastest arrow, in distances between neighbours of the grid."""

_CORNERS = ((0.5, 1.0), (0.0, 0.0), (1.0, 0.0))
"""Top, left and right, in shares of the axes."""

_CORNER_GAP = 5.0
"""Points between a corner and its name."""

_MODELS = {"teacher": "D", "reference": "s", "old": "^"}
"""The mark of each model."""


def plot_simplex(
    field: SimplexField, *, tokens: Sequence[str] | None = None, key: bool = True, ax: Axes | None = None
) -> Axes:
    """The flow of a loss on three tokens: arrows, lines, and the points at which p rests.

        dp/dt = p (v - sum_k p_k v_k),    v = -g, or -E_{y~q*}[g]

    A corner is certainty of one token; the label stands on top. Filled points are stable and open ones are not; a thick
    edge is at rest from end to end; a dot instead of an arrow is a state at which nothing moves; a cross is q*.

    Misread:
        Arrows are longer where p moves faster, by the square root of the speed and on a scale of this picture's own:
        two pictures do not compare in speed, and a line shows the way of p and not how long it takes. The flow moves
        the three logits of one context freely; a network shares its parameters between contexts and tokens. The
        picture for one label is no picture of training, which draws labels: under one label nearly every loss runs to
        that label's corner, and what sets losses apart is the picture for a q*. Distances in the triangle are neither
        total variation nor KL.

    Args:
        field: what `qt.simplex_field` gives.
        tokens: names of the three tokens; by default "label y" and "token 1", or "token 0" with its q*.
        key: whether to name the marks below the triangle.
        ax: ternary axes, `figure.add_subplot(projection="ternary")`; a new figure by default.

    Returns:
        The axes. The arrows are its first collection; the lines carry the label "flow", the points "stable" and
        "unstable".

    Raises:
        QTargetError: `field` is no SimplexField, the axes are not ternary, or there are not three names.
    """
    if not hasattr(field, "velocity") or not hasattr(field, "lines"):
        raise QTargetError(
            f"plot_simplex takes what qt.simplex_field returns, not {type(field).__name__}: "
            "qt.simplex_field('dft', q_star=[0.5, 0.3, 0.2])."
        )
    if tokens is not None and len(tokens) != CORNERS:
        raise QTargetError(f"plot_simplex: tokens must be three names, not {len(tokens)}.")
    if ax is None:
        with figure_style(8):
            return plot_simplex(field, tokens=tokens, key=key, ax=_new_axes())
    if getattr(ax, "name", "") != "ternary":
        raise QTargetError(
            f"plot_simplex needs ternary axes, not {type(ax).__name__}: pass "
            "figure.add_subplot(projection='ternary'), or leave ax out."
        )
    first = field.label or 0
    order = [first, *(token for token in range(CORNERS) if token != first)]
    colour = colour_of(field.category)
    _frame(ax, _names(field, tokens), order)
    for line in field.lines:
        ax.plot(*_corners(line, order), color=shaded(colour, 0.55), linewidth=0.6, label="flow", zorder=2)
    _arrows(ax, field, order, colour)
    for edge in field.edges:
        _edge(ax, edge, order, colour)
    handles = [*_points(ax, field, order, colour), *_rest_handles(field, colour), *_marks(ax, field, order)]
    # under one label the verdict tells nothing: nearly every loss is "proper" there
    name = plain(method_titles([field.loss], [field.title])[0])
    title = name if field.label is not None else f"{name}: {field.verdict}"
    ax.set_title(title, color=legible(colour), pad=_CORNER_GAP + 1.9 * mpl.rcParams["font.size"])
    if key and handles:
        _key(ax, handles, lines=1 + max(name.count("\n") for name in _names(field, tokens)))
    figure: Any = ax.get_figure(root=True)
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()  # a layout needs one pass more than usual, since the triangle keeps its shape
    return ax


def _corners(p: Any, order: Sequence[int]) -> tuple[np.ndarray, ...]:
    """[T, 3] probabilities as top, left and right."""
    values = np.atleast_2d(np.asarray(p))
    return tuple(values[:, token] for token in order)


def _names(field: SimplexField, tokens: Sequence[str] | None) -> list[str]:
    if tokens is not None:
        return [plain(name) for name in tokens]
    if field.label is None:
        return [f"token {token}\n$q^*$ = {share:.2g}" for token, share in enumerate(field.q_star.tolist())]
    return ["label $y$" if token == field.label else f"token {token}" for token in range(CORNERS)]


def _frame(ax: Any, names: Sequence[str], order: Sequence[int]) -> None:
    """The triangle with its corners named, and lines at a quarter, a half and three quarters."""
    for axis, token, corner in zip((ax.taxis, ax.laxis, ax.raxis), order, _CORNERS, strict=True):
        axis.set_ticks([0.25, 0.5, 0.75], labels=[])
        axis.set_tick_params(length=0)
        top = corner[1] == 1
        ax.annotate(
            names[token].replace("\n", ", ") if top else names[token],
            corner,
            xycoords="axes fraction",
            xytext=(0, _CORNER_GAP if top else -_CORNER_GAP),
            textcoords="offset points",
            ha="center",
            va="bottom" if top else "top",
        )
    ax.grid(True, color="#e6e6e6", linewidth=0.5, zorder=0)
    ax.set_axisbelow(True)
    for side in ax.spines.values():
        side.set_linewidth(0.6)


def _key(ax: Any, handles: Sequence[Line2D], lines: int) -> None:
    """What the marks are, below the names of the corners."""
    size = mpl.rcParams["font.size"]
    below = ScaledTranslation(
        0, -((1.5 * lines + 0.5) * size + _CORNER_GAP) / 72, ax.get_figure(root=True).dpi_scale_trans
    )
    ax.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        bbox_transform=ax.transAxes + below,
        ncols=2 if len(handles) == 4 else 3,
        frameon=False,
        borderaxespad=0.0,
        handlelength=1.2,
        handletextpad=0.3,
        columnspacing=1.0,
    )


def _arrows(ax: Any, field: SimplexField, order: Sequence[int], colour: str) -> None:
    """An arrow a state of the grid, as long as the root of its speed; a dot where nothing moves."""
    velocity = field.velocity.numpy()
    speed = np.linalg.norm(velocity, axis=-1, keepdims=True)
    rests = field.at_rest.numpy()
    p, moving = field.p.numpy(), ~rests
    if moving.any():
        neighbours = np.linalg.norm(p[:, None] - p[None], axis=-1)
        grid = neighbours[neighbours > 0].min()
        unit = velocity[moving] / speed[moving]
        length = _ARROW * grid * np.sqrt(speed[moving] / speed.max())
        ax.quiver(
            *_corners(p[moving] - length * unit / 2, order),
            *_corners(length * unit, order),
            color=colour,
            width=0.006,
            headwidth=3.6,
            headlength=4,
            headaxislength=3.6,
            minlength=0,
            zorder=3,
        )
    if rests.any():
        ax.plot(*_corners(p[rests], order), ".", color=shaded(colour, 0.4), markersize=2, label="at rest", zorder=3)


def _edge(ax: Any, edge: RestingEdge, order: Sequence[int], colour: str) -> None:
    """A thick side: filled where it is stable, open where it is not, dotted where it is neither."""
    ends = np.eye(CORNERS)[list(edge.tokens)]
    strokes: dict[str, list[dict[str, Any]]] = {
        "stable": [{"color": colour, "linewidth": 3.0}],
        "unstable": [{"color": colour, "linewidth": 3.0}, {"color": "white", "linewidth": 1.8}],
        "neutral": [{"color": colour, "linewidth": 2.4, "linestyle": (0, (0.5, 1.2))}],
    }
    for stroke in strokes[edge.kind]:
        ax.plot(*_corners(ends, order), **stroke, solid_capstyle="butt", clip_on=False, label="edge at rest", zorder=4)


def _rest_handles(field: SimplexField, colour: str) -> list[Line2D]:
    """What says that an edge or a dot is at rest."""
    handles = []
    if field.edges:
        handles.append(Line2D([], [], color=colour, linewidth=3.0, solid_capstyle="butt", label=" edge at rest"))
    if bool(field.at_rest.any()):
        handles.append(_handle(".", "at rest", color=shaded(colour, 0.4), markersize=3))
    return handles


def _points(ax: Any, field: SimplexField, order: Sequence[int], colour: str) -> list[Line2D]:
    """Filled and open circles; of a continuum a diamond. Points of what is drawn at rest already are left to that."""
    dotted = bool(field.at_rest.any())
    shown = [
        point
        for point in field.points
        if not any(_lies_on(point, edge) for edge in field.edges) and not (dotted and point.kind == "continuum")
    ]
    handles: list[Line2D] = []
    for stable in (False, True):
        those = [point for point in shown if point.stable == stable]
        for point in those:
            ax.plot(
                *_corners(point.p, order),
                marker="D" if point.kind == "continuum" else "o",
                markersize=4.0 if point.kind == "continuum" else 5.0,
                markerfacecolor=colour if stable else "white",
                markeredgecolor=colour,
                markeredgewidth=1.0,
                linestyle="none",
                clip_on=False,
                label="stable" if stable else "unstable",
                zorder=6,
            )
        for name, marker in _named(those, "stable" if stable else "unstable").items():
            face = colour if stable else "white"
            handles.insert(0, _handle(marker, name, markerfacecolor=face, markeredgecolor=colour))
    return handles


def _named(points: Sequence[FixedPoint], stability: str) -> dict[str, str]:
    """What the marks of some points say -> the mark."""
    kinds = {point.kind == "continuum" for point in points}
    return {f"{stability}, one of many" if many else stability: "D" if many else "o" for many in sorted(kinds)}


def _lies_on(point: FixedPoint, edge: RestingEdge) -> bool:
    """Whether a point is one of those of an edge at rest."""
    alive = set(point.p.nonzero().flatten().tolist())
    return alive <= set(edge.tokens)


def _marks(ax: Any, field: SimplexField, order: Sequence[int]) -> list[Line2D]:
    """q* and the models that the loss sees."""
    handles = []
    if field.label is None:
        ax.plot(
            *_corners(field.q_star, order), "+", color="black", markersize=9, markeredgewidth=1.2, label="q*", zorder=7
        )
        handles.append(_handle("+", "$q^*$", color="black", markeredgewidth=1.2))
    for name, p in field.models.items():
        ax.plot(
            *_corners(p, order),
            _MODELS[name],
            markerfacecolor="white",
            markeredgecolor=INK,
            markersize=4,
            label=name,
            zorder=5,
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
        )
        handles.append(_handle(_MODELS[name], name, markerfacecolor="white", markeredgecolor=INK, markersize=4))
    return handles


def _handle(marker: str, label: str, **style: Any) -> Line2D:
    return Line2D([], [], linestyle="none", marker=marker, label=label, **{"markersize": 5, **style})


def _new_axes() -> Axes:
    import matplotlib.pyplot as plt

    return plt.figure(figsize=(3.4, 3.4), layout="constrained").add_subplot(projection="ternary")
