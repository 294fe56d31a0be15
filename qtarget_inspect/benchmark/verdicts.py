"""Verdicts: results held against goals: met, not met, or not measured and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qtarget_inspect.benchmark.goals import MEMORY, Goal, goals
from qtarget_inspect.benchmark.results import Results, Section
from qtarget_inspect.benchmark.spread import Spread, ratios, spread

NOT_ASKED = "not asked for"
"""The reason where a contender was left out by choice; tables leave such goals out too."""


@dataclass(frozen=True)
class Verdict:
    """One goal in one section.

    Args:
        goal: the goal.
        section: where it was looked up; None where there was no such section.
        value: what was found, in the goal's unit; None where it was not measured.
        reason: why it was not measured.
    """

    goal: Goal
    section: Section | None
    value: Spread | None
    reason: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the median meets the limit; None where it was not measured."""
        if self.value is None:
            return None
        if self.goal.quantity == "bandwidth":
            return self.value.median >= self.goal.limit
        return self.value.median <= self.goal.limit

    @property
    def text(self) -> str:
        """met, NOT met, or not measured and why."""
        if self.met is None:
            return f"not measured: {self.reason}"
        return "met" if self.met else "NOT met"


def verdicts(results: Results, wanted: Iterable[Goal] | None = None) -> tuple[Verdict, ...]:
    """Hold results against goals.

    A goal of a shape is looked up in every section of a shape; where there is no section of its kind, or its device is
    another one, it has one verdict that says so.

    Args:
        results: what was measured.
        wanted: the goals; by default all.

    Returns:
        Verdicts, goal by goal.
    """
    found = []
    for goal in goals() if wanted is None else wanted:
        sections = [section for section in results.sections if section.kind == goal.kind]
        here = [section for section in sections if section.setting.device == goal.device]
        if here:
            found += [judge(goal, section, results.chunk_bytes) for section in here]
        else:
            missing = "no CUDA device" if goal.device == "cuda" else "this run is on a GPU"
            found.append(Verdict(goal, None, None, missing if sections else NOT_ASKED))
    return tuple(found)


def judge(goal: Goal, section: Section, chunk_bytes: int) -> Verdict:
    """Hold one section against one goal.

    Args:
        goal: the goal.
        section: the section.
        chunk_bytes: bytes of a chunk.

    Returns:
        The verdict.
    """
    if goal.quantity in (*MEMORY, "GiB"):
        peak = section.peak(goal.contender)
        used = None if peak is None else peak.system if goal.quantity == "system memory" else peak.torch
        if used is None:
            return Verdict(goal, section, None, _why_not(goal.contender, section))
        value = used / (2**30 if goal.quantity == "GiB" else chunk_bytes)
        return Verdict(goal, section, Spread(value, value, value))
    names = [goal.contender]
    if goal.quantity != "seconds":
        names += [name for name in (goal.reference, goal.less) if name is not None]
    for name in names:
        if section.timing(name) is None:
            return Verdict(goal, section, None, _why_not(name, section))
    own, *others = (timing.seconds for timing in map(section.timing, names) if timing is not None)
    if goal.quantity == "seconds":
        return Verdict(goal, section, spread(own))
    if goal.quantity == "bandwidth":  # a copy moves the same bytes
        return Verdict(goal, section, spread(ratios(others[0], own)))
    return Verdict(goal, section, spread(ratios(own, *others)))


def _why_not(name: str, section: Section) -> str:
    """The notice about a contender, or that it was not asked for."""
    told = [notice.removeprefix(f"{name}: ") for notice in section.notices if notice.startswith(f"{name}: ")]
    return told[0] if told else NOT_ASKED
