"""The page's own formulas, evaluated in the browser, against the engine; its code for Python, run."""

import contextlib
import io
import json
import os

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.explorer import positions

SIZES, TOKENS = (3, 10, 40), 24

EVALUATE = """
    const { losses, tokens } = JSON.parse(arguments[0]);
    const plain = (key, value) => (typeof value === "number" && !Number.isFinite(value) ? null : value);
    const states = tokens.map(makeState);
    const evaluate = ([name, parameters]) => {
        const pulls = pullsOf(lossNamed(name), parameters);
        const gauge = naturalGauge(pulls, states);
        const read = (state) => {
            const found = pulled(pulls, state);
            const natural = readTarget(found, state, gauge, "attractor");
            const normalized = readTarget(found, state, "normalized", "attractor");
            return {
                q: readTarget(found, state, "unit", "attractor").q,
                gamma: natural.gamma, mass: natural.mass, negative: natural.negative,
                variation: natural.variation, divergence: natural.divergence, natural: natural.q,
                self: readTarget(found, state, "unit", "self").gamma, normalized: normalized.gamma,
            };
        };
        const [law, residual] = [gammaText(pulls, gauge, states), residualText(pulls, gauge, states)];
        return { gauge, law, residual, tokens: states.map(read) };
    };
    return JSON.stringify(losses.map(evaluate), plain);
"""


def evaluated(page, losses, batch):
    """What the page makes of (name, parameters) on a batch: a record a loss."""
    return json.loads(page.run(EVALUATE, json.dumps({"losses": losses, "tokens": for_the_page(batch)})))


def random_tokens(vocabulary):
    """Tokens with p_y from 1e-6 to 1 - 1e-6; every fifth teacher is the model itself."""
    generator = torch.Generator().manual_seed(vocabulary)

    def noise(scale):
        return scale * torch.randn(TOKENS, vocabulary, dtype=torch.float64, generator=generator)

    logits = noise(2.0)
    log_odds = torch.linspace(-13.8155, 13.8155, TOKENS, dtype=torch.float64)
    logits[:, 0] = log_odds + logits[:, 1:].logsumexp(-1)
    teacher = noise(2.0)
    teacher[::5] = logits[::5]
    return qt.TokenBatch(
        logits,
        torch.zeros(TOKENS, dtype=torch.long),
        teacher_logits=teacher,
        reference_logits=logits + noise(1.0),
        old_logits=logits + noise(0.3),
        advantages=torch.linspace(-2, 2, TOKENS, dtype=torch.float64),
        critical=torch.arange(TOKENS) % 3 > 0,
        weights=torch.ones(TOKENS, dtype=torch.float64),
        sequence_ids=torch.arange(TOKENS),
    )


def for_the_page(batch):
    """The same tokens as the page takes them."""
    rows = zip(
        batch.logits.tolist(),
        batch.teacher_logits.tolist(),
        batch.reference_logits.tolist(),
        batch.old_logits.tolist(),
        batch.advantages.tolist(),
        batch.critical.int().tolist(),
        strict=True,
    )
    names = ("logits", "teacher", "reference", "old", "advantage", "critical")
    return [{"label": 0, **dict(zip(names, row, strict=True))} for row in rows]


def numbers(values):
    return torch.tensor([torch.nan if value is None else value for value in values], dtype=torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_formulas_agree_with_the_engine_for_every_loss_that_the_page_offers(page, size):
    page.open()
    offered = json.loads(page.run("return JSON.stringify(LOSSES.filter((one) => !one.own))"))
    assert len(offered) > 40
    losses = []
    for loss in offered:
        default = {one["name"]: one["default"] for one in loss["parameters"]}
        other = {one["name"]: one["steps"][len(one["steps"]) // 3] for one in loss["parameters"]}
        losses += [(loss["name"], parameters) for parameters in ([default, other] if other != default else [default])]
    batch = random_tokens(size)
    for (name, parameters), found in zip(losses, evaluated(page, losses, batch), strict=True):
        check_against_the_engine(qt.get(name).with_parameters(**parameters), found, batch)


def check_against_the_engine(variant, found, batch):
    target = qt.invert(variant, batch, method="torch.func", dtype=torch.float64)
    seen = qt.decompose(target, gauge="natural")
    what = f"{variant.label} at V = {batch.vocabulary}"
    assert found["gauge"] == seen.gauge, what
    assert found["law"] == variant.pulls.gamma_law(seen.gauge, seen.total_pull).text
    assert found["residual"] == variant.pulls.residual_text(seen.gauge, seen.total_pull)
    q = torch.tensor([one["q"] for one in found["tokens"]], dtype=torch.float64)
    torch.testing.assert_close(q, target.q, rtol=0, atol=1e-6, msg=lambda text: f"Q of {what}: {text}")
    normalized = qt.decompose(target, gauge="normalized").gamma
    for key, expected in (
        ("gamma", seen.gamma),
        ("normalized", normalized),
        ("self", qt.decompose(target, reading="self").gamma),
    ):
        got = numbers([one[key] for one in found["tokens"]])
        torch.testing.assert_close(
            got, expected, rtol=1e-6, atol=1e-6, equal_nan=True, msg=lambda text, key=key: f"{key} of {what}: {text}"
        )


def test_the_measures_of_a_target_are_those_of_measure(page):
    page.open()
    batch = random_tokens(10)
    chosen = [qt.get(name) for name in ("sft", "dft", "gem", "asft", "z-loss", "kd")]
    records = evaluated(page, [(variant.name, dict(variant.parameters)) for variant in chosen], batch)
    for variant, record in zip(chosen, records, strict=True):
        found = record["tokens"]
        q = qt.decompose(qt.invert(variant, batch, dtype=torch.float64), gauge="natural").q
        p = batch.logits.softmax(-1)
        torch.testing.assert_close(numbers([one["mass"] for one in found]), q.sum(-1))
        torch.testing.assert_close(numbers([one["negative"] for one in found]), q.clamp(max=0).sum(-1).abs())
        torch.testing.assert_close(numbers([one["variation"] for one in found]), 0.5 * (q - p).abs().sum(-1))
        sound = (q.clamp(max=0).sum(-1).abs() < 1e-10) & ((q.sum(-1) - 1).abs() < 1e-10)
        kl = torch.where(sound, (torch.special.xlogy(q.clamp(min=0), q.clamp(min=0) / p)).sum(-1), torch.nan)
        torch.testing.assert_close(numbers([one["divergence"] for one in found]), kl, equal_nan=True)


def test_the_pages_token_is_pythons(page):
    axes = {"p": positions.POSITIONS["p"][::14], "shape": (0.2, 2.15), "favourite": (0, 2, 4), "teacher": (0.2, 0.9)}
    at = positions.every_position(axes, {"reference": 0.5, "old": 0.2, "log_z": 5.0})
    asked = [dict(zip(at, map(float, row), strict=True)) for row in zip(*at.values(), strict=True)]
    page.open()
    script = "return JSON.stringify(JSON.parse(arguments[0]).map((at) => tokenAt(at, SIZE)))"
    found = json.loads(page.run(script, json.dumps(asked)))
    batch = positions.tokens_at(at)
    for ours, theirs in {"logits": "logits", "teacher_logits": "teacher", "old_logits": "old"}.items():
        got = torch.tensor([one[theirs] for one in found], dtype=torch.float64)
        torch.testing.assert_close(got, getattr(batch, ours), rtol=0, atol=1e-10)


def test_the_triangles_points_and_tokens_are_pythons(page):
    page.open()
    p = torch.tensor(page.run("return trianglePoints().map((p) => [...p])"), dtype=torch.float64)
    torch.testing.assert_close(p, positions.triangle_points())
    at = {name: torch.full((len(p),), float(value), dtype=torch.float64) for name, value in positions.DEFAULTS.items()}
    batch = positions.triangle_tokens(p, at)
    script = "return JSON.stringify(trianglePoints().map((p) => triangleToken(p, app.at)))"
    found = json.loads(page.run(script))
    for ours, theirs in {"logits": "logits", "teacher_logits": "teacher", "reference_logits": "reference"}.items():
        got = torch.tensor([one[theirs] for one in found], dtype=torch.float64)
        torch.testing.assert_close(got, getattr(batch, ours), rtol=0, atol=1e-10)


def test_a_users_loss_is_exact_at_every_position(page, losses_file):
    page.open("losses=my_losses.py:distil,my_losses.py:sqrt_trust")
    sizes = {name: len(values) for name, values in positions.POSITIONS.items()}
    generator = torch.Generator().manual_seed(3)
    for _ in range(8):
        moved = {}
        for name in ("p", "shape", "teacher", "favourite"):
            index = int(torch.randint(sizes[name], (1,), generator=generator))
            moved[name] = positions.POSITIONS[name][index]
            page.run("app.at[arguments[0]] = DATA.positions[arguments[0]][arguments[1]]", name, index)
        page.run("changed()")
        page.settled()
        at = {name: torch.tensor([float(value)]).double() for name, value in {**positions.DEFAULTS, **moved}.items()}
        batch = positions.tokens_at(at)
        for shown, name, gamma in zip(page.numbers(), ("distil", "sqrt_trust"), (0.25, moved["p"] ** 0.5), strict=True):
            q = qt.invert(f"{losses_file}:{name}", batch, dtype=torch.float64).q[0]
            torch.testing.assert_close(torch.tensor(shown["q"], dtype=torch.float64), q, rtol=0, atol=1e-6)
            assert shown["gamma"] == pytest.approx(gamma, abs=1e-6)


def test_a_users_loss_has_its_row_of_the_table(page):
    page.open("losses=my_losses.py:distil,my_losses.py:sqrt_trust")
    distil, sqrt = page.numbers()
    assert (distil["law"], distil["residualWords"], distil["gauge"]) == ("0.25", "teacher", "unit")
    assert (sqrt["law"], sqrt["residualWords"], sqrt["gauge"]) == ("p_y^0.5", "model", "unit")


def test_a_users_flow_is_the_engines(page, losses_file):
    page.open("losses=my_losses.py:distil")
    p = positions.triangle_points()
    at = {name: torch.full((len(p),), float(value), dtype=torch.float64) for name, value in positions.DEFAULTS.items()}
    g = qt.invert(f"{losses_file}:distil", positions.triangle_tokens(p, at), dtype=torch.float64).g
    velocity = p * ((p * g).sum(-1, keepdim=True) - g)
    found = page.run("return shownView.losses[0].flow.arrows.map(({ v }) => v)")
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), velocity, rtol=0, atol=1e-6)
    # between the points the field is interpolated: on a point itself that is the value there
    script = (
        "const f = interpolated(ownTriangle(lossNamed('my_losses.py:distil'), app.at));return trianglePoints().map(f)"
    )
    torch.testing.assert_close(torch.tensor(page.run(script), dtype=torch.float64), g, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "fragment",
    [
        "losses=sft,dft,gem(beta=0.5),asft(kl_weight=0.2)&p=0.12&shape=0.8",
        "losses=target-sft(eta=0.3),kd(temperature=2),jsd&teacher=0.35&favourite=1&gauge=normalized",
        "losses=ppo,grpo(kl_weight=0.2),k3,cft&old=0.5&reference=-2&advantage=-1&critical=0&reading=label-free",
        "losses=z-loss(z_weight=0.01),my_losses.py:distil,iw-sft&log_z=-5&reading=self",
    ],
)
def test_copied_python_prints_the_pages_numbers(page, losses_file, monkeypatch, fragment):
    page.open(fragment)
    shown = page.numbers()
    assert len(shown) >= 3
    for one, (head, q, residual) in zip(shown, printed_by_python(page, losses_file, monkeypatch), strict=True):
        assert f"({one['gauge']} gauge" in head
        gamma = numbers_in(head.split("gamma ")[1].split()[:1])[0]
        assert gamma == pytest.approx(float("nan") if one["gamma"] is None else one["gamma"], abs=2e-6, nan_ok=True)
        exact = [float("nan") if value is None else value for value in one["q"]]
        assert numbers_in(q) == pytest.approx(exact, abs=2e-6, nan_ok=True)
        exact = [float("nan") if value is None else value for value in one["residual"]]
        assert numbers_in(residual) == pytest.approx(exact, rel=1e-5, abs=2e-5, nan_ok=True)


def numbers_in(words):
    """The numbers as they were printed; a row without any is undefined, and nothing is 0 from below."""
    assert "-0.000000" not in words
    return [float("nan")] * positions.VOCABULARY if words == ["undefined"] else list(map(float, words))


def printed_by_python(page, losses_file, monkeypatch):
    """Head, Q and residual of each loss, as the program that the page hands out prints them."""
    program = page.run("return pythonOf(app, shownView)")
    monkeypatch.chdir(os.path.dirname(losses_file))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program, {})
    lines = printed.getvalue().splitlines()
    return [(head, q.split()[1:], residual.split()[1:]) for head, q, residual in zip(*[iter(lines)] * 3, strict=True)]


@pytest.mark.parametrize("gauge", ["unit", "normalized"])
def test_copied_python_names_no_gamma_where_the_page_has_none(odd_page, losses_file, monkeypatch, gauge):
    odd_page.open(f"losses=squared-logits(logit_weight=0.01),sft&gauge={gauge}")
    (shown, _) = odd_page.numbers()
    assert shown["gamma"] is None
    (head, q, residual), (sft, *_) = printed_by_python(odd_page, losses_file, monkeypatch)
    assert "gamma undefined" in head
    assert residual == ["undefined"]
    exact = [float("nan") if value is None else value for value in shown["q"]]
    assert numbers_in(q) == pytest.approx(exact, abs=2e-6, nan_ok=True)
    assert "gamma 1.000000" in sft


@pytest.mark.parametrize("number", [0, 1, 0.1, 1 / 3, 12345.678, 1e-5, -0.00012345, 2.5e10, 0.99996, 100])
@pytest.mark.parametrize("digits", [4, 6])
def test_numbers_are_written_as_python_writes_them(page, number, digits):
    if "explorer" not in page.driver.current_url:
        page.open()
    assert page.run("return rounded(arguments[0], arguments[1])", number, digits) == f"{number:.{digits}g}"
