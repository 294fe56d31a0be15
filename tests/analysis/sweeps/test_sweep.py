"""Sweeps against closed forms written here, against single values, and against callables."""

import functools
import math

import numpy as np
import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.analysis.sweeps import sweep, sweep_states, teacher_token

NUMBERS = ["gamma", "q_label", "q_other", "q_teacher_token", "g_label", "g_other", "mass", "negative_mass"]
NUMBERS += ["total_variation", "total_pull"]

SINGLE = [name for name, variant in qt.variants().items() if variant.category != "preference"]


def cross_entropy(logits, labels):
    return torch.nn.functional.cross_entropy(logits, labels)  # a mean


def my_asft(logits, labels, reference_logits, kl_weight=0.05):
    log_p = logits.log_softmax(-1)
    log_p_y = log_p.gather(-1, labels[:, None]).squeeze(-1)
    kl = torch.nn.functional.kl_div(log_p, reference_logits.log_softmax(-1), log_target=True, reduction="none").sum(-1)
    return (-log_p_y.exp().detach() * log_p_y + kl_weight * kl).mean()


def models_of(table):
    """p_y [M], and p of the model and the reference on label, other and teacher's token [M, 3]."""
    batch = sweep_states(table.p_y.tolist(), others_entropy=table.others_entropy.tolist())
    seen = [0, 1, teacher_token(32)]
    models = (batch.logits, batch.reference_logits)
    return (table.p_y.to_numpy(copy=True), *(logits.softmax(-1)[:, seen].numpy() for logits in models))


def seen_q(table):
    return table[["q_label", "q_other", "q_teacher_token"]].to_numpy()


LABEL = np.array([1.0, 0.0, 0.0])


def gem(p_y, p, batch, beta=0.7):
    """Q and g of GEM on the three tokens: onehot + p - p^(1/beta) / Z."""
    q = (batch.logits / beta).softmax(-1)[:, [0, 1, teacher_token(32)]].numpy()
    return LABEL + p - q


def closed_forms(table):
    """loss -> (gamma [M], Q [M, 3], g [M, 3]), by hand, each in its natural gauge."""
    p_y, p, reference = models_of(table)
    batch = sweep_states(p_y)
    ones = np.ones_like(p_y)

    def trust(gamma):
        q = gamma[:, None] * LABEL + (1 - gamma)[:, None] * p
        return gamma, q, p - q

    smooth = np.tile(0.9 * LABEL + 0.1 / 32, (len(p_y), 1))
    asft = p_y / (p_y + 0.05)
    asft_q = asft[:, None] * LABEL + (1 - asft)[:, None] * reference
    path = (0.5 * batch.logits.log_softmax(-1) + 0.5 * batch.teacher_logits.log_softmax(-1)).softmax(-1)
    path = path[:, [0, 1, teacher_token(32)]].numpy()
    target_sft = p_y[:, None] * LABEL + (1 - p_y)[:, None] * path
    signed = gem(p_y, p, batch)
    top = batch.logits.softmax(-1).sort(descending=True).values[:, :20]
    top = top / top.sum(-1, keepdim=True)
    return {
        "sft": trust(ones),
        "dft": trust(p_y),
        "beyond-log(alpha=0.5)": trust(p_y**0.5),
        "eaft": trust(torch.special.entr(top).sum(-1).numpy() / math.log(20)),
        "label-smoothing": (0.9 * ones, smooth, p - smooth),
        "asft": (asft, asft_q, (p_y + 0.05)[:, None] * (p - asft_q)),
        "gem": (ones, signed, p - signed),
        "target-sft": (p_y, target_sft, p - target_sft),
    }


LOSSES = ["sft", "dft", "beyond-log(alpha=0.5)", "eaft", "label-smoothing", "asft", "gem", "target-sft"]


@pytest.fixture(scope="module")
def table():
    return sweep(LOSSES)


@pytest.mark.parametrize("loss", LOSSES)
def test_closed_forms(table, loss):
    rows = table[table.loss.str.partition("(")[0] == loss.partition("(")[0]].reset_index()
    gamma, q, g = closed_forms(rows)[loss]
    assert np.abs(rows.gamma - gamma).max() < 1e-12
    assert np.abs(seen_q(rows) - q).max() < 1e-12
    assert np.abs(rows[["g_label", "g_other"]].to_numpy() - g[:, :2]).max() < 1e-12
    assert set(rows.gauge) == {"normalized" if loss == "asft" else "unit"}
    assert set(rows.reading) == {"attractor"}


def test_rows_and_columns(table):
    assert len(table) == len(LOSSES) * 208
    assert table.title.unique().tolist()[:3] == ["SFT", "DFT", "Beyond-log"]
    assert table.category.unique().tolist()[:2] == ["one-hot", "label trust"]
    assert (table.value == table.p_y).all()
    assert set(table.over) == {"p_y"}
    assert table.p_y.between(1e-3, 0.999).all()
    binary = -(table.p_y * np.log(table.p_y) + (1 - table.p_y) * np.log1p(-table.p_y))
    assert np.abs(table.entropy - binary - (1 - table.p_y) * 2.0).max() < 1e-12
    assert np.abs(table.p_other - models_of(table)[1][:, 1]).max() < 1e-14
    assert table.loc[table.loss == "gem(beta=0.7)", "negative_mass"].max() > 0.01
    assert np.abs(table.mass - 1).max() < 1e-12


def test_pulls_are_columns(table):
    asft = table[table.title == "ASFT"]
    assert np.abs(asft.pull_label - asft.p_y).max() < 1e-14
    assert set(asft.pull_reference) == {0.05}
    assert np.abs(asft.total_pull - asft.p_y - 0.05).max() < 1e-14
    dft = table[table.title == "DFT"]
    assert dft.pull_reference.isna().all(), "a loss without the attractor has no weight, not weight 0"
    assert [name for name in table if name.startswith("pull_")] == list(table.columns[-5:])
    assert set(table.loc[table.title == "GEM", "pull_p^1.4285714285714286"]) == {-1.0}


def test_a_threshold_is_a_step_between_two_values():
    table = sweep("profit")
    assert set(table.gamma) == {0.0, 1.0}
    step = table.loc[table.gamma == 1, "p_y"].min()
    assert 0.1 < step < 0.103
    assert table.loc[table.gamma == 0, "p_y"].max() > 0.097


@pytest.mark.parametrize(("mine", "theirs"), [(cross_entropy, "sft"), (my_asft, "asft")])
def test_a_callable_gives_what_the_registered_loss_gives(mine, theirs):
    found, expected = sweep(mine), sweep(theirs)
    assert found.gauge[0] == expected.gauge[0]
    assert np.abs(found[NUMBERS] - expected[NUMBERS]).to_numpy().max() < 1e-9
    assert found.pull_label.to_numpy() == pytest.approx(expected.pull_label.to_numpy(), abs=1e-9)
    assert [name for name in found if name.startswith("pull_")] == [
        name for name in expected if name.startswith("pull_")
    ], "what a fit gives no weight does not occur"
    assert (found.title[0], found.category[0]) == (mine.__name__, "")


def test_a_callable_gets_the_swept_parameter_by_keyword():
    values = [0.0, 0.1, 1.0]
    expected = sweep("asft", over="kl_weight", values=values)
    for mine in (my_asft, functools.partial(my_asft, kl_weight=7.0), qt.adapt(my_asft, kl_weight=7.0)):
        found = sweep(mine, over="kl_weight", values=values)
        assert found.loss[0] == "my_asft", "the swept parameter is no part of the name"
        assert np.abs(found[NUMBERS] - expected[NUMBERS]).to_numpy().max() < 1e-9


def test_a_float32_loss_is_forgiven_its_rounding():
    def casts(logits, labels):
        return torch.nn.functional.cross_entropy(logits.float(), labels)

    found = sweep(casts, values=[0.1, 0.5, 0.9])
    assert found.gamma.to_numpy() == pytest.approx(np.ones(3), abs=1e-5)
    assert found.kl_to_model.to_numpy() == pytest.approx(-np.log([0.1, 0.5, 0.9]), abs=1e-5)


def test_over_entropy_at_fixed_p_y():
    table = sweep(["eaft", "dft"], over="entropy", p_y=0.2)
    assert set(table.p_y) == {0.2}
    assert (table.value == table.entropy).all()
    batch = sweep_states(table.p_y.tolist(), others_entropy=table.others_entropy.tolist())
    found = torch.special.entr(batch.logits.softmax(-1)).sum(-1).numpy()
    assert np.abs(found - table.entropy).max() < 1e-12
    low = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8))
    high = low + 0.8 * math.log(31)
    assert low < table.value.min() < low + 0.02
    assert high - 0.02 < table.value.max() < high
    eaft, dft = (table.loc[table.title == title, "gamma"].to_numpy() for title in ("EAFT", "DFT"))
    assert eaft[0] < 0.2 < 0.9 < eaft[-1]
    assert dft == pytest.approx(np.full(200, 0.2), abs=1e-14)


def test_the_ends_of_the_entropy_are_reached():
    low = float(torch.special.entr(torch.tensor([0.2, 0.8], dtype=torch.float64)).sum())
    ends = sweep("dft", over="entropy", p_y=0.2, values=[low, low + 0.8 * math.log(31)])
    assert ends.others_entropy.tolist() == [0.0, math.log(31)]


@pytest.mark.parametrize(
    "over", [("p_y", "entropy"), ("p_y", "teacher_p_y"), ("eta", "p_y"), ("others_entropy", "eta")]
)
def test_a_grid_is_its_slices(over):
    values = {"p_y": [0.3, 0.1, 0.4], "entropy": [1.2, 1.6], "teacher_p_y": [0.5, 0.9], "eta": [0.2, 0.7]}
    values["others_entropy"] = [0.5, 3.0]
    grid = sweep("target-sft(eta=0.4)", over=over, values=tuple(values[axis] for axis in over))
    assert len(grid) == len(values[over[0]]) * len(values[over[1]])
    assert set(grid.over_y) == {over[1]}
    for fixed in values[over[0]]:
        rows = grid[grid.value == fixed]
        loss = f"target-sft(eta={fixed})" if over[0] == "eta" else "target-sft(eta=0.4)"
        state = {} if over[0] == "eta" else {over[0]: fixed}
        reached = rows[rows.q_label.notna()]
        line = sweep(loss, over=over[1], values=reached.value_y.tolist(), **state)
        assert np.abs(reached[NUMBERS].to_numpy() - line[NUMBERS].to_numpy()).max() < 1e-14


def test_states_of_a_grid_that_cannot_be_are_nan():
    grid = sweep(["dft", my_asft], over=("p_y", "entropy"), values=([0.1, 0.9], [1.0, 3.0]))
    unreachable = (grid.p_y == 0.9) & (grid.entropy >= 1.0)
    assert unreachable.sum() == 4
    assert grid.loc[unreachable, [*NUMBERS, "others_entropy"]].isna().all(axis=None)
    assert grid.loc[~unreachable, NUMBERS].notna().all(axis=None)
    assert grid[["p_y", "entropy", "teacher_p_y", "value", "value_y"]].notna().all(axis=None)


def test_the_default_grid_tiles_its_axes():
    grid = sweep("dft", over=("p_y", "entropy"))
    assert len(grid) == 6400
    for values, high in ((grid.value.unique(), 1.0), (grid.value_y.unique(), math.log(32))):
        assert np.diff(values) == pytest.approx(np.full(79, high / 80))
        assert values[0] == pytest.approx(high / 160)


@pytest.mark.parametrize("name", SINGLE)
def test_every_registered_loss_can_be_swept_over_p_y(name):
    table = sweep(name, values=[0.01, 0.3, 0.9])
    assert (
        table[["q_label", "q_other", "q_teacher_token", "g_label", "g_other", "total_variation"]].notna().all(axis=None)
    )
    explained = qt.get(name).pulls is not None or name == "unlikelihood-tokens"
    assert table.gamma.notna().all() == explained
    if not explained:
        assert set(table.gauge) == {"unit"}
        assert table.total_pull.isna().all()
        assert not [column for column in table if column.startswith("pull_")]


@pytest.mark.parametrize(
    ("name", "parameter"),
    [(name, parameter) for name in SINGLE for parameter in qt.get(name).parameters],
)
def test_default_values_of_every_parameter_lie_in_its_range(name, parameter):
    variant = qt.get(name)
    table = sweep(name, over=parameter)
    default = variant.parameters[parameter]
    assert table.value.min() <= default <= table.value.max()
    assert len(table) > 15
    assert f"{parameter}=" not in table.loss[0]
    assert len(set(table.loss)) == len(set(table.gauge)) == 1


def test_an_attractor_that_changes_along_the_sweep_is_one_column():
    eta = sweep("target-sft", over="eta", values=[0, 0.25, 1], p_y=0.4)
    assert eta["pull_path(* to teacher)"].to_numpy() == pytest.approx([0.6] * 3)
    temperature = sweep("kd", over="temperature", values=[0.5, 1, 2])
    assert temperature["pull_teacher@*"].notna().all()
    assert "pull_teacher" not in temperature


def test_one_gauge_along_a_sweep():
    table = sweep("asft", over="kl_weight", values=[0, 0.1])
    assert set(table.gauge) == {"normalized"}
    assert table.gamma.tolist() == pytest.approx([1, 0.75])
    unit = sweep("asft", over="kl_weight", values=[0, 0.1], gauge="unit")
    assert unit.gamma.tolist() == pytest.approx([0.3, 0.3])


def test_without_a_normalized_gauge_there_is_no_q():
    table = sweep("reverse-kl", values=[0.2, 0.5], gauge="normalized")
    assert table[["gamma", "q_label", "q_other", "q_teacher_token"]].isna().all(axis=None)
    assert table[["g_label", "g_other", "total_pull"]].notna().all(axis=None)


def test_over_the_vocabulary():
    table = sweep("label-smoothing", over="vocabulary", values=[16, 64])
    assert table.q_other.to_numpy() == pytest.approx([0.1 / 16, 0.1 / 64])


def test_the_teacher_can_be_swept():
    table = sweep("kd", over="teacher_p_y", values=[0.1, 0.9])
    assert table.q_label.to_numpy() == pytest.approx([0.1, 0.9])
    assert (table.teacher_p_y == table.value).all()


def coupled(logits, labels):
    log_p = logits.log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)
    weight = log_p.exp().detach()
    return -weight / weight.mean() * log_p


@pytest.mark.parametrize(
    ("losses", "arguments", "message"),
    [
        (
            "dft",
            {"over": "banana"},
            r"dft has no parameter banana \(its parameters: none\); a state has p_y, teacher_p_y",
        ),
        (["target-sft", "dft"], {"over": "eta"}, r"dft has no parameter eta .*: target-sft, alpha-divergence"),
        (cross_entropy, {"over": "eta"}, "cross_entropy takes no keyword eta"),
        ("sft", {"over": ("p_y", "p_y")}, "pair of different names"),
        ("sft", {"over": 3}, "over must be a name"),
        ("sft", {"over": ("entropy", "others_entropy")}, "entropy follows from p_y and others_entropy"),
        ("sft", {"values": [0.0, 0.5]}, "p_y must lie between 0 and 1, both left out, not be 0"),
        ("sft", {"values": [0.5, 0.5]}, "values of p_y repeat"),
        ("sft", {"values": []}, "list of finite numbers"),
        ("sft", {"values": ["low"]}, "list of finite numbers"),
        ("sft", {"over": ("p_y", "entropy"), "values": [0.1, 0.2, 0.3]}, "must be a pair"),
        ("asft", {"over": "kl_weight", "values": [-1]}, "kl_weight of asft must be a number >= 0, not -1"),
        (
            "sft",
            {"over": "entropy", "values": [0.1]},
            r"0.1 nats cannot be reached at p_y = 0.3, V = 32: .* 0.6109 .* 3.015",
        ),
        ("sft", {"over": ("p_y", "entropy"), "values": ([0.9], [3])}, "no pair of p_y and entropy can be reached"),
        ("sft", {"others_entropy": 5}, r"others_entropy must lie between 0 and ln\(V - 1\) = 3.434 nats, not be 5"),
        ("sft", {"p_y": [0.1, 0.2], "over": "entropy"}, "p_y must be one number, .* pass over='p_y'"),
        ("sft", {"vocabulary": 2}, "vocabulary must be a whole number of at least 3"),
        ("sft", {"gauge": "free"}, "gauge must be one of"),
        ([], {}, "losses is empty"),
        (["sft", "sft"], {}, "2 losses are named sft"),
        ("dpo", {}, "dpo compares two sequences"),
        (coupled, {}, "couples the tokens of a batch"),
        (lambda logits, labels, power: 0, {"over": "power"}, "power has no default"),
    ],
)
def test_errors_say_what_and_why(losses, arguments, message):
    with pytest.raises(qt.QTargetError, match=message):
        sweep(losses, **arguments)
