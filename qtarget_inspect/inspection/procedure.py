"""inspect(loss) -> Inspection: a loss as its numbers, its name as a black box, what it learns and how it behaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from qtarget_inspect.analysis.identification import Identification, identify
from qtarget_inspect.analysis.loss_audit import audit_loss
from qtarget_inspect.analysis.population.summary import learned_by
from qtarget_inspect.analysis.precision import working_dtype
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.core.probes import probe_batch
from qtarget_inspect.engine.inversion import invert
from qtarget_inspect.inspection.cautions import warnings_of
from qtarget_inspect.inspection.reading import attractor_reading, shown_reading
from qtarget_inspect.inspection.result import Inspection
from qtarget_inspect.variants import Variant, resolve

Part = TypeVar("Part")


def inspect(loss: Any, batch: TokenBatch | None = None, *, reduction: str | float = "auto") -> Inspection:
    """Look at a loss: its row of the table, gamma over p_y, mass, flags, what a population learns, how it behaves.

    The loss is named as a black box on states made for the purpose (`identify`), whatever batch is given; its numbers
    are those of the batch. Where it cannot be run on made-up states (it is bound to a vocabulary, or to certain rows),
    it is named on the batch.

    Args:
        loss: any loss that `invert` takes; it is differentiated, also where it is registered with a closed form.
        batch: the tokens; default the built-in probe states in float64, which sweep p_y from 1e-8 to 1 - 1e-8.
        reduction: as in `invert`.

    Returns:
        An object that shows itself in a notebook, with `.text()`, `.table()`, `.row()`, `.to_latex()`, `.warnings`, and
        the parts it is made of: `.target`, `.reading`, `.identification`, `.learned`, `.audit`.

    Raises:
        QTargetError: as `invert`.

    Examples:
        >>> import qtarget_inspect as qt
        >>> seen = inspect("dft")
        >>> seen.reading.gauge, seen.warnings
        ('unit', ())
        >>> print(seen.text().splitlines()[1].strip())
        loss      -sg[p_y] log p_y   (label trust, arXiv 2508.05629)
    """
    words = "tokens of your batch" if batch is not None else "probe states"
    tokens = batch if batch is not None else probe_batch()
    resolved = resolve(loss)
    method: Any = "torch.func" if isinstance(resolved, Variant) else "auto"
    target = invert(resolved, tokens, method=method, reduction=reduction)
    unsaid: dict[str, str] = {}
    found = _tried("law", unsaid, lambda: _identified(resolved, tokens, batch is not None, reduction))
    learned = _tried("learns", unsaid, lambda: learned_by(resolved))
    audit = _tried("audit", unsaid, lambda: audit_loss(resolved))
    pulls = attractor_reading(target, found)
    reading = shown_reading(pulls)
    states = f"{len(tokens)} {words}, V = {tokens.vocabulary}"
    dtype = working_dtype(resolved, tokens)
    warnings = warnings_of(resolved, target, pulls, found)
    return Inspection(
        target.loss, target, reading, pulls, found, learned, audit, unsaid, states, dtype, warnings, resolved
    )


def _tried(part: str, unsaid: dict[str, str], make: Callable[[], Part]) -> Part | None:
    """A part of the inspection; where it cannot be had, why not goes into `unsaid`."""
    try:
        return make()
    except QTargetError as error:
        unsaid[part] = str(error).splitlines()[0]
        return None


def _identified(loss: Any, tokens: TokenBatch, own: bool, reduction: str | float) -> Identification:
    """The loss as a black box: on made-up states, or on the user's tokens where it cannot be run on others."""
    made_up = reduction if isinstance(reduction, str) else "auto"  # a divisor belongs to the batch it was declared for
    try:
        return identify(loss, reduction=made_up)
    except QTargetError:
        if not own:
            raise
        return identify(loss, tokens, reduction=reduction)
