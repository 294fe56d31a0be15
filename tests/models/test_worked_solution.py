"""A worked solution in one call: three roles of one model on the same tokens."""

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect import models


@pytest.fixture(scope="module")
def roomy_lm(make_tokenizer):
    """A tiny random model that reads a whole worked problem letter by letter."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=8192, **sizes)).eval()
    return models.CausalLM(model, tokenizer, name="roomy", description="roomy, random weights")


def test_the_labels_are_the_solution_and_the_roles_differ(roomy_lm):
    solution = models.worked_solution(1, example=0, model=roomy_lm)
    batch = solution.batch
    assert "".join(batch.tokens) == solution.problem.solution == models.worked_problems(2)[1].solution
    assert batch.logits.shape == batch.teacher_logits.shape == batch.reference_logits.shape
    assert not torch.equal(batch.logits, batch.teacher_logits)
    assert not torch.equal(batch.logits, batch.reference_logits)
    assert solution.lm is roomy_lm
    assert solution.about["model"] == "roomy, random weights"
    assert list(solution.about) == ["question", "solution", "model", "teacher", "reference"]
    assert f"{len(batch)} tokens" in solution.about["solution"]


def test_it_is_the_batch_of_the_three_views(roomy_lm):
    example, problem = models.worked_problems(2)
    built = models.token_batch(
        models.chat_view(roomy_lm),
        problem.question,
        problem.solution,
        teacher=models.one_example_view(roomy_lm, example.question, example.solution),
        reference=models.plain_view(roomy_lm),
    )
    batch = models.worked_solution(1, example=0, model=roomy_lm).batch
    for name in ("logits", "teacher_logits", "reference_logits", "labels"):
        assert torch.equal(getattr(batch, name), getattr(built, name))


def test_the_teacher_sees_another_problem(roomy_lm):
    with pytest.raises(qt.QTargetError, match="problem 2 is the example that the teacher sees"):
        models.worked_solution(2, example=2, model=roomy_lm)
    with pytest.raises(qt.QTargetError, match="problem must be an integer of at least 0, not -1"):
        models.worked_solution(-1, model=roomy_lm)


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.xdist_group("model")
def test_by_default_it_is_smollm2(smollm2):
    solution = models.worked_solution(model=smollm2)
    assert "".join(solution.batch.tokens).startswith("He drank 8*3=24")
    assert "Q4_1" in solution.about["model"]
