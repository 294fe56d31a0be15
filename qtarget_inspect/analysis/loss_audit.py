"""Audit: how a loss behaves as code (conventions, reductions, coupling, numbers), as a short list of findings."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd
import torch

from qtarget_inspect.analysis.audit_checks.convention import (
    check_cast,
    check_determinism,
    check_order,
    check_shift,
    check_writes,
)
from qtarget_inspect.analysis.audit_checks.finding import Finding, Level, not_checked
from qtarget_inspect.analysis.audit_checks.masking import check_all_masked, check_ignore_index
from qtarget_inspect.analysis.audit_checks.precision import check_extreme_logits, check_half_precision
from qtarget_inspect.analysis.audit_checks.reduction import (
    check_accumulation,
    check_coupling,
    check_items,
    check_one_token,
    check_reduction,
)
from qtarget_inspect.analysis.audit_checks.subject import Subject, make_subject
from qtarget_inspect.analysis.audit_checks.values import check_shift_invariance, check_stop_gradient
from qtarget_inspect.analysis.callable_loss import callable_loss
from qtarget_inspect.core.batch import TokenBatch
from qtarget_inspect.core.errors import BatchError, QTargetError
from qtarget_inspect.core.probes import probe_batch
from qtarget_inspect.engine.gradients import first_line

CHECKS: dict[str, Callable[[Subject], Finding]] = {
    "shift": check_shift,
    "reduction": check_reduction,
    "num_items_in_batch": check_items,
    "accumulation": check_accumulation,
    "one token": check_one_token,
    "ignore_index": check_ignore_index,
    "all masked": check_all_masked,
    "coupling": check_coupling,
    "order of tokens": check_order,
    "stop-gradient": check_stop_gradient,
    "shift invariance": check_shift_invariance,
    "determinism": check_determinism,
    "in-place writes": check_writes,
    "internal cast": check_cast,
    "half precision": check_half_precision,
    "extreme logits": check_extreme_logits,
}
"""The checks, in the order in which findings are listed."""

VOCABULARY = 128
"""V of the built-in batch: more than 100, so that a label of -100 is an index that Python would take."""

SEQUENCES = (3, 9, 1, 12, 5, 2, 10, 6)
"""Lengths of its sequences: unequal, so that a mean for each sequence is no mean over tokens."""

_MARKS = {"ok": " ", "note": "-", "warning": "!"}

_WIDTH = 120


@dataclass(frozen=True, eq=False, repr=False)
class LossAudit:
    """How a loss behaves as code.

    Args:
        loss: its name.
        findings: what the checks saw, one each.
        states: what it was tried on, in words.
    """

    loss: str
    findings: tuple[Finding, ...]
    states: str

    def __getitem__(self, name: str) -> Finding:
        """The finding of one check, by its name."""
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise KeyError(f"no check is named {name!r}; there are {', '.join(CHECKS)}")

    def __repr__(self) -> str:
        """The same as `text`."""
        return self.text

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that are likely to be wrong, or to break something."""
        return self._of("warning")

    @property
    def notes(self) -> tuple[Finding, ...]:
        """The findings that are worth knowing, and the checks that could not be run."""
        return self._of("note")

    @property
    def summary(self) -> str:
        """One line: reduction, coupling, stop-gradient, shift invariance, and the names of all warnings."""
        kind, shift = self["reduction"].values.get("kind", "unknown"), self["shift invariance"]
        parts = ["per token" if kind == "none" else f"reduction {kind}"]
        coupling = self["coupling"]
        seen = "no coupling" if coupling.level == "ok" else str(coupling.values.get("coupled"))
        parts.append(seen if coupling.checked else "coupling not checked")
        if self["stop-gradient"].checked:
            parts.append("no stop-gradient seen" if self["stop-gradient"].level == "ok" else "a stop-gradient")
        if shift.checked:
            parts.append("shift invariant" if shift.level == "ok" else "not shift invariant")
        names = [finding.name for finding in self.warnings if finding.name not in ("coupling", "reduction")]
        return "; ".join(parts + ([f"warnings: {', '.join(names)}"] if names else []))

    @property
    def text(self) -> str:
        """The findings in plain words: "!" marks a warning, "-" a note."""
        return "\n".join([f"{self.loss}: {self._summary()}", *map(_line, self.findings)])

    def table(self) -> pd.DataFrame:
        """A row a finding.

        Returns:
            Columns check, level ("ok", "note", "warning"), checked (False where it could not be run), text, values (a
            dict of the numbers).
        """
        rows = [
            {
                "check": one.name,
                "level": one.level,
                "checked": one.checked,
                "text": one.text,
                "values": dict(one.values),
            }
            for one in self.findings
        ]
        return pd.DataFrame(rows)

    def _of(self, level: Level) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.level == level)

    def _summary(self) -> str:
        parts = [(len(self.warnings), "warning"), (len(self.notes), "note")]
        counted = [f"{count} {what}{'s' if count > 1 else ''}" for count, what in parts if count]
        return f"{', '.join(counted) or 'nothing to remark'}   ({self.states})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{'&#9888;' if one.level == 'warning' else escape(_MARKS[one.level])}</td>"
            f"<td style='padding-right:1.5em;vertical-align:top;white-space:nowrap'>{escape(one.name)}</td>"
            f"<td style='text-align:left'>{escape(one.text)}</td></tr>"
            for one in self.findings
        )
        return f"<div><b>{escape(self.loss)}</b> &nbsp; {escape(self._summary())}<table>{rows}</table></div>"


def _line(finding: Finding) -> str:
    head = f"  {_MARKS[finding.level]} {finding.name:<20}"
    return textwrap.fill(" ".join(finding.text.split()), _WIDTH, initial_indent=head, subsequent_indent=" " * len(head))


def audit_loss(loss: Any, batch: TokenBatch | None = None) -> LossAudit:
    """How a loss behaves as code: what would surprise a trainer, or a reader of its numbers.

    Each check calls the loss on a few tokens (p_y from 2 % to 97 %) and compares: with the same call on other tokens,
    another order, another seed, half the tokens, other labels, other types. A check that cannot be run says why. What
    the loss teaches is not judged here; `inspect` shows that.

    Args:
        loss: a loss as `invert` takes it.
        batch: the tokens to try it on; default 48 probe states with V = 128 and all context.

    Returns:
        The findings: shift, reduction, num_items_in_batch, accumulation, one token, ignore_index, all masked, coupling,
        order of tokens, stop-gradient, shift invariance, determinism, in-place writes, internal cast, half precision,
        extreme logits.

    Raises:
        BatchError: `batch` is no TokenBatch.
        QTargetError: the loss cannot be called at all, or is constant in the logits; the message is `invert`'s.

    Examples:
        >>> import torch, qtarget_inspect as qt
        >>> def mean_dft(logits, labels):
        ...     nll = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
        ...     return (torch.exp(-nll).detach() * nll).mean()
        >>> audit = qt.audit_loss(mean_dft)
        >>> [finding.name for finding in audit.warnings]
        ['accumulation']
        >>> print(audit["accumulation"].text)
        micro-batches of 4 and 2 tokens, averaged: a token counts 0.75 to 1.5 times as much as in one batch (a mean of
        means)
    """
    if batch is None:
        batch = _built_in()
        states = f"{len(batch)} probe states, V = {VOCABULARY}"
    elif not isinstance(batch, TokenBatch):
        raise BatchError(f"audit_loss: batch must be a TokenBatch, not {type(batch).__name__}: pass logits and labels.")
    else:
        states = f"your batch of {len(batch)} tokens, V = {batch.vocabulary}"
    subject = make_subject(callable_loss(loss), batch)
    return LossAudit(subject.loss.name, tuple(_run(name, check, subject) for name, check in CHECKS.items()), states)


def _built_in() -> TokenBatch:
    """Probe states with sequences of unequal length."""
    batch = probe_batch(sum(SEQUENCES), VOCABULARY)
    ids = torch.repeat_interleave(torch.arange(len(SEQUENCES)), torch.tensor(SEQUENCES))
    return batch.with_logits(batch.logits, sequence_ids=ids)


def _run(name: str, check: Callable[[Subject], Finding], subject: Subject) -> Finding:
    """One check's finding; what the loss raised where it could not be run."""
    try:
        return check(subject)
    except QTargetError as error:
        return not_checked(name, f"the loss raised {type(error.__cause__ or error).__name__}: {first_line(error)}")
