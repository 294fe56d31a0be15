"""target_table: p, Q and residual of one token, against closed forms and against the tensors of its readings."""

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.tables.shown_text import shown, shown_entries

P = [0.4, 0.3, 0.2, 0.1]
TEACHER = [0.1, 0.2, 0.6, 0.1]


@pytest.fixture
def batch():
    logits = torch.tensor([[0.25] * 4, P], dtype=torch.float64).log()
    teacher = torch.tensor([[0.25] * 4, TEACHER], dtype=torch.float64).log()
    return qt.TokenBatch(logits, torch.tensor([0, 1]), teacher_logits=teacher, tokens=["a", " cat"])


def read(loss, batch, **how):
    return qt.decompose(qt.invert(loss, batch, method="torch.func"), gauge="natural", **how)


def column(table, name):
    return table[name].tolist()


def test_p_q_and_residual_of_dft(batch):
    """Q = p_y onehot + (1 - p_y) p: the residual is p itself."""
    table = qt.target_table(read("dft", batch), 1)
    assert column(table, "entry") == [1, 0, 2, 3]
    assert column(table, "p") == pytest.approx([0.3, 0.4, 0.2, 0.1])
    assert column(table, "q") == pytest.approx([0.3 + 0.7 * 0.3, 0.7 * 0.4, 0.7 * 0.2, 0.7 * 0.1])
    assert column(table, "residual") == pytest.approx([0.3, 0.4, 0.2, 0.1])
    assert column(table, "change") == pytest.approx([0.7 * 0.3, -0.3 * 0.4, -0.3 * 0.2, -0.3 * 0.1])
    first = table.iloc[0]
    assert (first.loss, first.method, first.category) == ("dft", "DFT", "label trust")
    assert (first.gauge, first.reading, first.position) == ("unit", "attractor", 2)
    assert first.gamma == pytest.approx(0.3)


def test_the_residual_of_target_sft_is_the_path_to_the_teacher(batch):
    table = qt.target_table(read("target-sft(eta=0.5)", batch), 1)
    path = (torch.tensor(P, dtype=torch.float64) * torch.tensor(TEACHER, dtype=torch.float64)).sqrt()
    path = path / path.sum()
    assert column(table, "residual") == pytest.approx(path[[1, 0, 2, 3]].tolist())


def test_where_gamma_is_1_there_is_no_residual(batch):
    table = qt.target_table(read("sft", batch), 1)
    assert table["residual"].isna().all()
    assert column(table, "q") == pytest.approx([1, 0, 0, 0])


def test_the_normalized_gauge_is_that_of_the_whole_reading(batch):
    reading = read("kd-hybrid(kd_weight=0.25)", batch, reading="label-free")
    both = [reading, qt.decompose(qt.invert("asft", _with_reference(batch)), gauge="normalized")]
    for one in both:
        table = qt.target_table(one, -1)
        assert column(table, "q") == pytest.approx(one.q[1, table["entry"].tolist()].tolist())
        assert column(table, "residual") == pytest.approx(one.residual[1, table["entry"].tolist()].tolist())
    assert set(qt.target_table(both[1])["gauge"]) == {"normalized"}


def _with_reference(batch):
    reference = torch.tensor([[0.25] * 4, TEACHER[::-1]], dtype=torch.float64).log()
    return batch.with_logits(batch.logits, reference_logits=reference)


def test_only_the_gradient_of_the_token_is_read_twice(batch):
    """One token is cut out before anything of size [N, V] is made."""
    target = qt.invert("asft", _with_reference(batch))
    reading = qt.decompose(target, gauge="unit")
    qt.target_table(reading)
    assert not {"q", "remainder", "residual"} & set(vars(reading))
    assert not {"g", "p"} & set(vars(target))


def test_the_label_stands_first_then_the_likeliest_and_what_a_loss_brings_in(batch):
    readings = [read("sft", batch), read("kd", batch)]
    table = qt.target_table(readings, 1, top_tokens=3)
    assert column(table, "loss") == ["sft"] * 3 + ["kd(temperature=1.0)"] * 3
    assert column(table, "entry") == [1, 0, 2] * 2, "token 2 is the teacher's, though the model's third"
    assert column(table, "is_label") == [True, False, False] * 2
    assert column(qt.target_table(readings, 1, top_tokens=1), "entry") == [1, 1]
    assert len(qt.target_table(readings, 1, top_tokens=100)) == 8


def test_negative_targets_are_among_the_largest(batch):
    def away(logits, labels):
        return (1 - logits.softmax(-1).gather(-1, labels[:, None]).squeeze(-1)).log() * -2

    reading = read(away, batch)
    table = qt.target_table(reading, 1, top_tokens=2)
    assert float(table["q"].min()) < 0
    assert column(table, "category") == ["", ""]
    assert column(table, "method") == ["away", "away"]


def test_texts_of_entries(batch):
    reading = read("dft", batch)
    words = ["·the", "·cat", "·sat", "⏎"]
    assert column(qt.target_table(reading, 1), "token") == ["·cat", "token 0", "token 2", "token 3"]
    table = qt.target_table(reading, 1, texts=lambda ids: [[" the", " cat", " sat", "\n"][i] for i in ids])
    assert column(table, "token") == [words[i] for i in (1, 0, 2, 3)]


def test_a_tokenizer_tells_texts_too():
    class Tokenizer:
        def convert_ids_to_tokens(self, token):
            return f"piece{token}"

        def __call__(self, text, add_special_tokens):
            return type("Encoding", (), {"input_ids": [0]})()

        def decode(self, ids, **options):
            return "".join(["a", " cat", " sat"][i] for i in ids)

    assert shown_entries([1, 2], Tokenizer()) == ["·cat", "·sat"]


def test_two_parameter_values_of_one_loss_have_two_titles(batch):
    table = qt.target_table([read("target-sft", batch), read("target-sft(eta=0.1)", batch)], 1, top_tokens=1)
    assert column(table, "method") == ["Target-SFT (eta=0.5)", "Target-SFT (eta=0.1)"]


@pytest.mark.parametrize("text", ["", "\x07", "\u200b", "\ufeff"])
def test_shown_text_is_printable(text):
    assert shown(text).isprintable()


WRONG = {
    "a target instead of a reading": (lambda batch: (qt.invert("sft", batch),), {}, "qt.decompose"),
    "an empty list": (lambda batch: ([],), {}, "list of nothing"),
    "a token that is not there": (lambda batch: (read("sft", batch), 2), {}, "from -2 to 1"),
    "half a token": (lambda batch: (read("sft", batch), 0.5), {}, "from -2 to 1"),
    "no entries": (lambda batch: (read("sft", batch),), {"top_tokens": 0}, "top_tokens must be a positive"),
    "no decoder": (lambda batch: (read("sft", batch),), {"texts": 3}, "a function of token ids to texts"),
    "a decoder that loses texts": (lambda batch: (read("sft", batch),), {"texts": lambda ids: []}, "one text for each"),
    "two batches": (
        lambda batch: ([read("sft", batch), read("dft", batch.select(slice(0, 1)))],),
        {},
        "different batches",
    ),
}


@pytest.mark.parametrize(("args", "options", "message"), WRONG.values(), ids=WRONG)
def test_bad_input_is_refused(batch, args, options, message):
    with pytest.raises(qt.QTargetError, match=message):
        qt.target_table(*args(batch), **options)


def margin(logits, labels):
    best = logits.scatter(-1, labels[:, None], float("-inf")).amax(-1)
    return (2 + best - logits.gather(-1, labels[:, None]).squeeze(-1)).clamp(min=0)


def test_a_fit_that_explains_nothing_has_neither_gamma_nor_residual():
    batch = qt.TokenBatch(torch.tensor([[0.0, 1.0, 0.5, -1.0]], dtype=torch.float64), torch.tensor([0]))
    table = qt.target_table(qt.decompose(qt.invert(margin, batch)))
    assert table[["gamma", "residual"]].isna().all(axis=None)
    assert table["q"].notna().all()


def test_what_float32_leaves_of_a_residual_is_no_residual():
    def in_float32(logits, labels):
        return torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")

    batch = qt.probe_batch(64)
    reading = qt.decompose(qt.invert(in_float32, batch))
    residual = torch.cat([torch.tensor(qt.target_table(reading, token)["residual"].values) for token in range(64)])
    assert (residual[residual.isfinite()].abs() <= 1.01).all()
    assert residual.isnan().float().mean() > 0.9
