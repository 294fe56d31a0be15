"""Worked problems: seeded, whole, and a remedy where their source is missing."""

from __future__ import annotations

import sys

import pytest

from qtarget_inspect.core.errors import MissingDependencyError, QTargetError
from qtarget_inspect.models import worked_problems


def test_problems_are_seeded_and_end_in_their_answer():
    few, many = worked_problems(3), worked_problems(5)
    assert few == many[:3]
    assert few != worked_problems(3, seed=8)
    for problem in many:
        assert problem.question
        assert problem.solution.splitlines()[-1] == f"#### {problem.answer}"
    assert many[4].source == "reasoning-gym gsm_symbolic, seed 7, item 4"


def test_bad_count_and_missing_package(monkeypatch):
    with pytest.raises(QTargetError, match="count must be at least 1, not 0"):
        worked_problems(0)
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(MissingDependencyError, match=r"pip install reasoning-gym==0\.1\.25"):
        worked_problems(1)
