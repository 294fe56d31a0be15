"""Worked grade-school problems with solutions: real SFT data that needs no download."""

from __future__ import annotations

from dataclasses import dataclass

from qtarget_inspect.core.errors import MissingDependencyError, QTargetError


@dataclass(frozen=True)
class WorkedProblem:
    """A question with its solution, written out.

    Args:
        question: the problem as it is put to the model.
        solution: the worked solution; its last line is "#### " and the answer.
        answer: the answer alone.
        source: where it comes from.
    """

    question: str
    solution: str
    answer: str
    source: str


def worked_problems(count: int, *, seed: int = 7) -> list[WorkedProblem]:
    """Word problems with worked solutions, from reasoning-gym's gsm_symbolic; the same for the same seed.

    Args:
        count: how many, at least 1.
        seed: picks templates and numbers.

    Returns:
        The problems. The first ones of a longer list are those of a shorter.

    Raises:
        QTargetError: count is below 1.
        MissingDependencyError: reasoning-gym is not installed.
    """
    if count < 1:
        raise QTargetError(f"count must be at least 1, not {count}.")
    try:
        import reasoning_gym
    except ImportError as error:
        raise MissingDependencyError(
            f"worked problems come from reasoning-gym, which cannot be imported ({error}): "
            "pip install reasoning-gym==0.1.25"
        ) from error
    data = reasoning_gym.create_dataset("gsm_symbolic", seed=seed, size=count)
    return [
        WorkedProblem(
            question=entry["question"],
            solution=entry["metadata"]["answer_cot"],
            answer=entry["answer"],
            source=f"reasoning-gym gsm_symbolic, seed {seed}, item {index}",
        )
        for index, entry in enumerate(data)
    ]
