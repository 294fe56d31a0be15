"""The demo's records and text, on states small enough to check by hand."""

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.cli import demo_records, demo_text
from qtarget_inspect.tables.telling import TellingToken

LOSSES = ("sft", "dft", "gem", "target-sft")


def decode(ids):
    return [f" t{number}" for number in ids]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    logits, teacher, reference = (2 * torch.randn(7, 9, generator=generator) for _ in range(3))
    labels = torch.tensor([0, 3, 8, 2, 2, 5, 1])
    return qt.TokenBatch(
        logits, labels, teacher_logits=teacher, reference_logits=reference, tokens=decode(labels.tolist())
    )


@pytest.fixture
def readings(batch):
    return demo_records.read_losses(LOSSES, batch)


def test_the_losses_are_differentiated(readings):
    assert {reading.target.method for reading in readings.values()} == {"torch.func"}
    assert all(reading.target.q.dtype == torch.float64 for reading in readings.values())


def test_a_row_a_token_and_loss(batch, readings):
    records = demo_records.token_records(readings, batch, decode)
    assert len(records) == len(LOSSES) * len(batch)
    row = records[(records.loss == "dft") & (records.position == 3)].iloc[0]
    p = batch.logits[2].double().softmax(-1)
    p_y = float(p[8])
    assert row.token == "·t8"
    assert (row.p_label, row.gamma) == pytest.approx((p_y, p_y))
    assert row.q_label == pytest.approx(2 * p_y - p_y**2)
    assert (row.gain_1_token, row.gain_1) == ("·t8", pytest.approx(p_y * (1 - p_y)))
    others = p.clone()
    others[8] = 0
    assert row.loss_token == f"·t{int(others.argmax())}"
    assert row.loss_change == pytest.approx(-p_y * float(others.max()))
    assert row.teacher_p_label == pytest.approx(float(batch.teacher_logits[2].softmax(-1)[8]))


def test_telling_tokens_follow_their_rules(batch, readings):
    found = {token.name: token.index for token in demo_records.most_telling(readings, batch)}
    assert list(found) == ["rescue", "filter", "doubted", "conflict", "signed"]
    assert len(set(found.values())) == 5
    p, teacher = (
        x.double().softmax(-1).gather(-1, batch.labels[:, None]).squeeze(-1)
        for x in (batch.logits, batch.teacher_logits)
    )
    assert found["rescue"] == int((teacher - p).argmax())


def test_a_short_text_has_fewer_telling_tokens(batch):
    short = batch.select(slice(0, 2))
    assert len(demo_records.most_telling(demo_records.read_losses(LOSSES, short), short)) == 2


def test_the_token_table_has_a_line_a_token(batch, readings):
    records = demo_records.token_records(readings, batch, decode)
    lines = demo_text.every_token(records).splitlines()
    assert lines[0].split() == ["SFT", "DFT", "GEM", "Target-SFT"]
    assert lines[1].split() == ["unit"] * 4
    assert len(lines) == 3 + len(batch)
    assert lines[3].split()[:2] == ["1", "·t0"]
    assert len({len(line) for line in lines[2:]}) == 1, "the columns are aligned"


def test_one_token_names_what_gains_and_loses(batch, readings):
    records = demo_records.token_records(readings, batch, decode)
    token = TellingToken(2, "rescue", "because")
    head, models, _, *rows = demo_text.one_token(records, token).splitlines()
    assert head == 'rescue: token 3, "·t8": because'
    assert "teacher" in models
    assert [row.split()[0] for row in rows] == ["SFT", "DFT", "GEM", "Target-SFT"]
    assert '"·t8" +' in rows[0]
    assert "(no other)" in rows[0], "under SFT nothing but the label gains"
    assert rows[3].count("+") > 1, "under Target-SFT the teacher's tokens gain too"


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5, 1e-12, 3e-4, 0.99999, -0.25, -1e-5, 1.28, float("nan")])
def test_numbers_take_five_columns(value):
    assert len(demo_text.number(value)) == 5
