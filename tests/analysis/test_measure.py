"""Measurement: the fast numbers against those of Q itself, for every registered loss, in both types and gauges."""

import pytest
import torch
from wide_batches import wide_batch

import qtarget_inspect as qt
from qtarget_inspect.analysis.measurement import plain, stream
from qtarget_inspect.analysis.measurement.records import NUMBERS
from qtarget_inspect.core.state import State
from qtarget_inspect.core.tolerances import rounding
from qtarget_inspect.variants import BEYOND_VARIANTS, PAPER_VARIANTS
from qtarget_inspect.vocabulary import directions, laws
from qtarget_inspect.vocabulary.formula import Law
from qtarget_inspect.vocabulary.pulls import Pulls, total_pull

VARIANTS = [variant for variant in PAPER_VARIANTS + BEYOND_VARIANTS if variant.pulls is not None]
GAUGES = ("natural", "unit", "normalized")
OTHER_PARAMETERS = [
    "beyond-log(alpha=-0.5)",
    "beyond-log(alpha=0.3)",
    "label-smoothing(label_smoothing=0.0)",
    "sft-kl(kl_weight=0.0)",
    "sft-kl(kl_weight=3.0)",
    "asft(kl_weight=1.0)",
    "gem(beta=1.0)",
    "gem(beta=2.5)",
    "kd(temperature=3.0)",
    "kd-hybrid(kd_weight=1.0)",
    "target-sft(eta=0.0)",
    "target-sft(eta=0.2)",
    "target-sft(eta=1.0)",
    "iw-sft(maximum=3.0)",
    "jsd(teacher_share=0.9)",
    "alpha-divergence(eta=0.1)",
    "confidence-penalty(entropy_weight=-0.7)",
    "z-loss(z_weight=0.1)",
    "kd-top-k(top_k=1)",
]
"""Ends and insides of parameter ranges: weights that vanish, sources that are the model, negative pulls."""


def amplified(loss, batch, gauge):
    """[N] how much larger than p the terms of Q are, which cancel: rounding grows by that."""
    pulls = qt.get(loss).pulls
    weights = pulls.weights(State(batch.to(torch.float64), torch.float64))
    size = 1 + torch.stack([weight.abs() for weight in weights.values()]).sum(0)
    return size / total_pull(pulls.directions, weights).abs().clamp(min=1e-30) if gauge == "normalized" else size


def judged_alike(values, free, size, allowed):
    """[N] tokens on which no threshold is near: Q (its residual) is clearly a distribution, or clearly none.

    A total pull that float32 cannot hold leaves no normalized gauge there.
    """
    error = torch.maximum(values["negative_mass"], (values["mass"] - 1).abs()).nan_to_num()
    q_judged = ((error < 0.2 * allowed) & (size < 20)) | (error > 5 * allowed * size)
    noise = 16 * allowed / 100 * size / free.abs()
    return q_judged & (size < 1e29) & ((noise < 1e-4) | (free.abs() < 1e-14))


def assert_same(fast, judge, batch, dtype):
    """Every number within the rounding of its type, NaN and inf where the judge has them."""
    assert (fast.loss, fast.gauge) == (judge.loss, judge.gauge)
    size, unit = amplified(fast.loss, batch, fast.gauge), rounding(dtype)
    free = 1 - judge["gamma"]
    same = judged_alike(judge.values, free, size, unit)
    for name in NUMBERS:
        found, expected = fast[name], judge[name]
        known = ~torch.isnan(expected)
        assert torch.equal(torch.isnan(found)[same], torch.isnan(expected)[same]), f"{fast.loss} {name}: NaN"
        both = known & ~torch.isnan(found) & (same | (name not in ("signed", "residual_entropy")))
        infinite = torch.isinf(expected)
        assert torch.equal(found[both & infinite], expected[both & infinite]), f"{fast.loss} {name}: inf"
        grown = size / free.abs().clamp(min=unit) if name == "residual_entropy" else size
        error = ((found - expected).abs() / (1 + expected.abs()))[both & ~infinite]
        allowed = (4 * unit * grown)[both & ~infinite]
        assert bool((error <= allowed).all()), f"{fast.loss} {name}: {float((error / allowed).max()):.3g} times too far"


@pytest.fixture(scope="module", params=[2, 3, 40])
def batch(request):
    """p_y from 1e-8 to 1 - 1e-8; on some tokens reference, teacher or old policy are the model itself."""
    return qt.probe_batch(48, request.param)


@pytest.mark.parametrize("gauge", GAUGES)
def test_every_loss_has_the_numbers_of_its_target(batch, gauge):
    names = [variant.name for variant in VARIANTS] + OTHER_PARAMETERS
    found = qt.measure(names, batch, gauge=gauge)
    with qt.fast_paths(False):
        judges = qt.measure(names, batch, gauge=gauge)
    for fast, judge in zip(found, judges, strict=True):
        assert_same(fast, judge, batch, torch.float64)
        assert set(fast.flags) == set(judge.flags)
        assert (fast.method, fast.reduction, fast.coupled) == (judge.method, judge.reduction, judge.coupled)


@pytest.mark.parametrize("gauge", GAUGES)
def test_float32_agrees_with_the_target_in_float64(batch, gauge):
    names, single = [variant.name for variant in VARIANTS] + OTHER_PARAMETERS, batch.to(torch.float32)
    double = single.to(torch.float64)
    for fast in qt.measure(names, single, gauge=gauge):
        reading = plain.read(qt.invert(fast.loss, double), gauge)
        values = plain.per_token_tensors(reading, torch.float32)
        judge = plain.measure_target(fast.loss, reading.target, gauge)
        judge.values.update(values)
        assert_same(fast, judge, double, torch.float32)


def test_the_numbers_follow_from_their_definitions():
    batch = qt.probe_batch(32, 40)
    found = qt.measure(["asft"], batch)["asft"]
    p, reference = batch.logits.softmax(-1), batch.reference_logits.softmax(-1)
    p_y = p.gather(-1, batch.labels[:, None])
    gamma = p_y / (p_y + 0.05)
    q = gamma * torch.nn.functional.one_hot(batch.labels, 40) + (1 - gamma) * reference
    assert found.gauge == "normalized"
    expected = {
        "gamma": gamma.squeeze(-1),
        "mass": torch.ones(32).double(),
        "negative_mass": torch.zeros(32).double(),
        "q_label": q.gather(-1, batch.labels[:, None]).squeeze(-1),
        "p_label": p_y.squeeze(-1),
        "total_variation": 0.5 * (q - p).abs().sum(-1),
        "kl_to_model": (q * (q.log() - p.log())).sum(-1),
        "target_entropy": -(q * q.log()).sum(-1),
        "residual_entropy": -(reference * reference.log()).sum(-1),
        "model_entropy": -(p * p.log()).sum(-1),
    }
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-9, atol=1e-12), name


def test_a_certain_label_keeps_its_digits_in_float32():
    """1 - p_y is 1e-9, which float32 cannot tell from 0 in p_y itself."""
    logits = torch.zeros(1, 11)
    logits[0, 3] = 23.0
    batch = qt.TokenBatch(logits, torch.tensor([3]), reference_logits=torch.zeros(1, 11))
    rest = 10 / (10 + torch.tensor(23.0).double().exp())
    found = qt.measure(["sft", "dft"], batch)
    assert float(found["sft"]["total_variation"]) == pytest.approx(float(rest), rel=1e-5)
    assert float(found["dft"]["total_variation"]) == pytest.approx(float(rest * (1 - rest)), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_impossible_label_and_masked_vocabulary(dtype):
    batch = qt.probe_batch(24, 40).to(dtype)
    fields = {name: getattr(batch, name).clone() for name in ("reference_logits", "teacher_logits", "old_logits")}
    logits = batch.logits.clone()
    logits[:8, :5] = -torch.inf  # masked here, possible to the others: KL is infinite where Q holds some of it
    logits[12, batch.labels[12]] = -torch.inf  # p_y = 0
    for one in fields.values():
        one[6:16, 7:11] = -torch.inf
        one[torch.arange(24), batch.labels] = 1.0
    logits[torch.arange(8), batch.labels[:8]] = 0.5
    masked = batch.with_logits(logits, **fields)
    names = ["sft", "dft", "eaft", "label-smoothing", "sft-kl", "asft", "kd", "kd-hybrid", "target-sft", "gem", "tailr"]
    with qt.fast_paths(False):
        judges = qt.measure(names, masked.to(torch.float64))
    for fast, judge in zip(qt.measure(names, masked), judges, strict=True):
        for name in ("total_variation", "kl_to_model", "target_entropy", "model_entropy", "q_label"):
            close = torch.isclose(fast[name], judge[name], rtol=1e-4, atol=2e-5, equal_nan=True)
            known = ~torch.isnan(fast[name]) | torch.isnan(judge[name])  # float32 may call Q signed where it is not
            assert bool((close | ~known).all()), (fast.loss, name)
    assert bool(torch.isinf(qt.measure(["label-smoothing"], masked)[0]["kl_to_model"]).any())


@pytest.mark.parametrize("offset", [1e3, -3e4])
def test_the_offset_of_the_logits_costs_no_digits(offset):
    batch = qt.probe_batch(24, 40, dtype=torch.float32)
    shift = torch.full_like(batch.logits[:, :1], offset)
    moved = batch.with_logits(
        batch.logits.double().add(shift.double()).float(), teacher_logits=(batch.teacher_logits - 2 * shift)
    )
    names = ["sft", "label-smoothing", "kd-hybrid", "target-sft"]
    with qt.fast_paths(False):
        judges = qt.measure(names, moved.to(torch.float64))
    for fast, judge in zip(qt.measure(names, moved), judges, strict=True):
        for name in ("total_variation", "kl_to_model", "target_entropy", "model_entropy"):
            assert torch.allclose(fast[name], judge[name], rtol=1e-4, atol=1e-5, equal_nan=True), (fast.loss, name)


def test_pieces_do_not_change_the_numbers(monkeypatch):
    batch = qt.probe_batch(48, 40)
    names = [variant.name for variant in VARIANTS]
    whole = qt.measure(names, batch, top_tokens=4)
    monkeypatch.setattr(stream, "PIECE_BYTES", 7 * 5 * 40 * 8)
    for one, other in zip(qt.measure(names, batch, top_tokens=4), whole, strict=True):
        for name in NUMBERS:
            assert torch.allclose(one[name], other[name], rtol=1e-12, atol=1e-14, equal_nan=True), (one.loss, name)
        assert torch.allclose(one.gains.values, other.gains.values, atol=1e-14, equal_nan=True)


def test_a_gauge_that_the_first_piece_gets_wrong(monkeypatch):
    """Total pull 1 where p_y is below one half, which is so on all of the first rows; more on the others."""
    monkeypatch.setattr(stream, "PIECE_BYTES", 4 * 5 * 40 * 8)
    batch = qt.probe_batch(48, 40)
    order = State(batch).p_label.argsort()
    batch = batch.select(order)

    def loss(logits, labels, reference_logits):
        raise AssertionError("its pulls are declared")

    def pulls():
        return Pulls.of((directions.label(), 1.0), (directions.reference(), laws.label_prob_above(0.5)))

    qt.register("sometimes-kl", pulls=pulls)(loss)
    try:
        fast = qt.measure(["sometimes-kl"], batch)[0]
        with qt.fast_paths(False):
            judge = qt.measure(["sometimes-kl"], batch)[0]
        assert fast.gauge == "normalized"
        assert_same(fast, judge, batch, torch.float64)
    finally:
        qt.unregister("sometimes-kl")


def test_weights_that_look_at_other_tokens_are_taken_on_the_whole_batch(monkeypatch):
    """A law that is not said to be local: here a mean over the batch, beside a reference."""
    monkeypatch.setattr(stream, "PIECE_BYTES", 4 * 5 * 40 * 8)
    batch = qt.probe_batch(48, 40)
    mean = Law("mean p_y", r"\bar p_y", lambda s: s.p_label.mean().expand(len(s.batch)))

    def loss(logits, labels, reference_logits):
        raise AssertionError("its pulls are declared")

    qt.register("mean-kl", pulls=lambda: Pulls.of((directions.label(), 1.0), (directions.reference(), mean)))(loss)
    try:
        fast = qt.measure(["mean-kl"], batch)[0]
        with qt.fast_paths(False):
            assert_same(fast, qt.measure(["mean-kl"], batch)[0], batch, torch.float64)
    finally:
        qt.unregister("mean-kl")


@pytest.mark.parametrize("vocabulary", [3, 40, 3000])
def test_top_tokens_are_those_of_the_target(vocabulary):
    batch = qt.probe_batch(32, vocabulary)
    for one in qt.measure([variant.name for variant in VARIANTS], batch, top_tokens=5):
        change = qt.decompose(qt.invert(one.loss, batch), gauge=one.gauge).q - batch.logits.softmax(-1)
        defined = ~torch.isnan(change).any(-1)
        size = min(5, vocabulary)
        for top, sign in ((one.gains, 1), (one.drops, -1)):
            assert top.tokens.shape == top.values.shape == (32, size)
            expected = (sign * change[defined]).topk(size).values.clamp(min=0)
            tokens, values = top.tokens[defined], sign * top.values[defined]
            assert torch.allclose(values, expected, rtol=1e-9, atol=1e-11), one.loss
            assert torch.equal(tokens < 0, values == 0)
            at_tokens = sign * change[defined].gather(-1, tokens.clamp(min=0))
            assert torch.allclose(at_tokens[tokens >= 0], values[tokens >= 0], rtol=1e-9, atol=1e-11), one.loss
            assert bool(torch.isnan(top.values[~defined]).all())


def test_callables_stand_beside_registered_losses():
    batch = qt.probe_batch(32, 40)

    def mine(logits, labels):
        return torch.nn.functional.cross_entropy(logits, labels)

    found = qt.measure(["sft", mine], batch, top_tokens=3)
    assert [one.loss for one in found] == ["sft", "mine"]
    assert found["mine"].method != "closed-form"
    assert "mean over 32 tokens" in found["mine"].reduction
    for name in ("total_variation", "kl_to_model", "q_label", "model_entropy"):
        assert torch.allclose(found["sft"][name], found["mine"][name], atol=1e-9), name
    assert torch.allclose(found["sft"].drops.values, found["mine"].drops.values, atol=1e-9)


def test_half_precision_logits_are_upcast():
    batch = qt.probe_batch(24, 40).to(torch.bfloat16)
    found, upcast = (qt.measure(["target-sft", "gem"], one) for one in (batch, batch.to(torch.float32)))
    for one, other in zip(found, upcast, strict=True):
        for name in NUMBERS:
            assert torch.allclose(one[name], other[name], equal_nan=True), name


def test_the_table_has_a_row_a_loss_and_token():
    batch = qt.TokenBatch(torch.zeros(2, 3), torch.tensor([0, 2]), tokens=["a", "b"])
    table = qt.measure(["sft", "dft"], batch, top_tokens=2).table()
    assert table[["loss", "token", "text", "label"]].values.tolist() == [
        ["sft", 0, "a", 0],
        ["sft", 1, "b", 2],
        ["dft", 0, "a", 0],
        ["dft", 1, "b", 2],
    ]
    assert table["flags"].tolist() == ["gamma is 1: no residual"] * 2 + [""] * 2
    assert table["gains"].tolist() == [[0], [2], [0], [2]]
    assert table["drops"].map(sorted).tolist() == [[1, 2], [0, 1], [1, 2], [0, 1]]
    assert table["drop_values"][0] == pytest.approx([-1 / 3, -1 / 3])
    assert set(NUMBERS) <= set(table.columns)


def test_a_loss_is_found_by_place_name_and_full_name():
    found = qt.measure(["sft", "asft(kl_weight=0.1)", "asft(kl_weight=0.2)"], qt.probe_batch(4))
    assert found[1] is found["asft(kl_weight=0.1)"]
    assert found["sft"].loss == "sft"
    assert len(found) == 3
    with pytest.raises(qt.QTargetError, match="2 losses are named 'asft'"):
        found["asft"]
    with pytest.raises(qt.QTargetError, match=r"no loss measured is named 'dft'; there are sft"):
        found["dft"]
    with pytest.raises(qt.QTargetError, match="'trust' is no number of a token; there are"):
        found["sft"]["trust"]


BAD = {
    "text for a list": ({"losses": "sft"}, "measure takes a list of losses, not 'sft'"),
    "no losses": ({"losses": []}, "losses is empty"),
    "no batch": ({"batch": 3}, "batch must be a TokenBatch or HiddenStates, not int"),
    "a gauge that is none": ({"gauge": "half"}, "gauge must be one of unit, normalized, natural, not 'half'"),
    "no top tokens": ({"top_tokens": 0}, "top_tokens must be a positive integer or None, not 0"),
    "half a top token": ({"top_tokens": 0.5}, "top_tokens must be a positive integer or None, not 0.5"),
    "half precision": ({"dtype": torch.bfloat16}, "dtype must be torch.float32 or torch.float64"),
    "a name that is none": ({"losses": ["sfd"]}, "no variant is named 'sfd'"),
    "missing context": ({"losses": ["kd"]}, "teacher_logits"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case):
    given, message = BAD[case]
    arguments = {"losses": ["sft"], "batch": qt.TokenBatch(torch.zeros(2, 3), torch.tensor([0, 1])), **given}
    with pytest.raises(qt.QTargetError, match=message):
        qt.measure(arguments.pop("losses"), arguments.pop("batch"), **arguments)


def test_a_target_that_is_not_finite_is_refused_as_invert_refuses_it():
    logits = torch.tensor([[0.0, -torch.inf, 0.0], [0.0, 1.0, 2.0]])
    batch = qt.TokenBatch(logits, torch.tensor([1, 0]))
    name = "beyond-log(alpha=-0.5)"
    for run in (qt.invert, lambda loss, states: qt.measure([loss], states)):
        with pytest.raises(qt.LossError, match="no finite target for token 0"):
            run(name, batch)


COMPILED = [
    *(name for name, variant in qt.variants().items() if variant.source == "paper"),
    "gem(beta=0.4)",
    "asft(kl_weight=3.0)",
    "kd(temperature=2.0)",
    "target-sft(eta=0.2)",
]


@pytest.mark.slow
@pytest.mark.parametrize("gauge", ["natural", "unit"])
def test_sums_from_one_compiled_pass_are_those_of_the_operators(gauge, monkeypatch):
    monkeypatch.setattr(stream, "PIECE_BYTES", 6 * 2400 * 4 * 11)
    monkeypatch.setattr(stream, "MOST_BYTES", 6 * 2400 * 4 * 11)
    batch = wide_batch(rows=40, vocabulary=2400)
    plain = qt.measure(COMPILED, batch, gauge=gauge)
    compiled = qt.measure(COMPILED, batch, gauge=gauge, compile=True)
    judge = qt.measure(COMPILED, batch.to(torch.float64), gauge=gauge)
    for place, name in enumerate(COMPILED):
        assert compiled[place].gauge == plain[place].gauge
        for number, values in compiled[place].values.items():
            reference, exact = plain[place][number], judge[place][number]
            assert torch.equal(torch.isnan(values), torch.isnan(reference)), (name, number)
            apart = (values - reference).abs().nan_to_num()
            assert (apart <= 2e-5 * reference.abs().nan_to_num().clamp(min=1)).all(), (name, number)
            if number == "signed":
                continue  # what counts as rounding differs between the types
            both = ~(torch.isnan(values) | torch.isnan(exact))
            assert ((values - exact)[both].abs() <= 5e-5 * exact[both].abs().clamp(min=1)).all(), (name, number)


@pytest.mark.parametrize("losses", [["sft"], ["sft", "dft"], ["asft-reverse-kl"]])
def test_losses_that_need_no_sums_of_rows_compile_nothing(losses, monkeypatch):
    monkeypatch.setattr(stream, "MOST_BYTES", 6 * 2400 * 4 * 11)
    batch = wide_batch(rows=40, vocabulary=2400)
    plain, compiled = (qt.measure(losses, batch, compile=way) for way in (False, True))
    for place in range(len(losses)):
        for number, values in compiled[place].values.items():
            assert torch.allclose(values, plain[place][number], rtol=0, atol=1e-6, equal_nan=True), number


@pytest.mark.slow
def test_compiled_sums_of_masked_vocabularies_are_read_with_care():
    batch = wide_batch(rows=40, vocabulary=2400)
    logits = batch.logits.clone()
    logits[:, 11] = -torch.inf
    logits[3] += 500
    batch = batch.with_logits(logits)
    plain, compiled = (qt.measure(["target-sft", "kd"], batch, compile=way) for way in (False, True))
    for place in range(2):
        for number, values in compiled[place].values.items():
            assert torch.allclose(values, plain[place][number], rtol=0, atol=2e-5, equal_nan=True), number
