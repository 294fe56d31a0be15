"""The registry: names, specs, registration, plug-ins, files."""

from dataclasses import replace

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.variants import Range, registry, resolve
from qtarget_inspect.vocabulary import directions, laws
from qtarget_inspect.vocabulary.pulls import Pulls


def test_the_papers_sixteen_come_first_and_all_declare_pulls_and_claims():
    names = [variant.name for variant in registry.PAPER_VARIANTS]
    assert len(names) == 16
    assert list(qt.variants())[:16] == names
    assert all(variant.pulls and variant.claim and variant.latex for variant in registry.PAPER_VARIANTS)


def test_defaults_of_loss_and_variant_agree():
    import inspect

    for variant in registry.PAPER_VARIANTS + registry.BEYOND_VARIANTS:
        defaults = inspect.signature(variant.loss).parameters
        for key, value in variant.parameters.items():
            assert defaults[key].default == value, (variant.name, key)


def test_unknown_names_are_answered_with_those_that_exist():
    with pytest.raises(qt.RegistryError, match=r"registered are sft, dft.*Did you mean 'label-smoothing'"):
        qt.get("label_smoothing")
    with pytest.raises(qt.RegistryError, match=r"asft has no parameter kl; it has kl_weight"):
        qt.get("asft(kl=0.1)")
    for malformed in ("asft(0.1)", "asft(kl_weight=", "asft(kl_weight=print)", "asft(**{})"):
        with pytest.raises(qt.RegistryError, match="cannot read"):
            qt.get(malformed)
    with pytest.raises(qt.RegistryError, match="a loss is a callable"):
        resolve(3)


def test_parameters_reach_loss_pulls_and_claim():
    variant = qt.get("asft(kl_weight=0.3)")
    assert variant.label == "asft(kl_weight=0.3)"
    assert variant.pulls.text == "{label: p_y, reference: 0.3}"
    assert variant.claim.gamma_text == "p_y / (p_y + 0.3)"
    batch = qt.probe_batch(16, 20)
    direct = qt.losses.asft(batch.logits, batch.labels, batch.reference_logits, kl_weight=0.3)
    assert torch.equal(variant(batch.logits, batch.labels, reference_logits=batch.reference_logits), direct)


def test_register_by_hand_with_and_without_pulls():
    @qt.register("test-half", pulls=Pulls.of((directions.label(), 0.5)), formula="-0.5 log p_y")
    def half(logits, labels):
        return 0.5 * qt.losses.sft(logits, labels)

    try:
        batch = qt.probe_batch(16, 20)
        assert qt.invert("test-half", batch).method == "closed-form"
        assert torch.allclose(qt.decompose(qt.invert("test-half", batch)).gamma, torch.tensor(0.5, dtype=torch.float64))
        with pytest.raises(qt.RegistryError, match="registered already"):
            qt.register("test-half")(half)
        qt.register("test-half", overwrite=True)(half)
        assert qt.invert("test-half", batch).method == "torch.func"
        table = qt.unification_table("all")
        row = table[table.method == "test-half"].iloc[0]
        assert row["holds"] is None
        assert "gamma = 0.5" in row["note"]
    finally:
        qt.unregister("test-half")
    with pytest.raises(qt.RegistryError, match="no variant"):
        qt.unregister("test-half")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: qt.get(3), r"get takes the name of a variant, as text, not 3; registered are sft"),
        (lambda: qt.get(None), "get takes the name of a variant"),
        (lambda: qt.get(""), "no variant is named ''"),
        (lambda: qt.register("x", foo=1), "register knows no field foo; with a name it takes pulls, claim, title"),
        (lambda: qt.register("x", source="paper"), "register knows no field source"),
        (
            lambda: qt.register("x", pulls={"label": 1}),
            r"pulls of 'x' must be a Pulls or a function.*Write pulls=Pulls.of",
        ),
        (lambda: qt.register("x", claim=3), r"claim of 'x' must be a Claim or a function.*Write claim=Claim\("),
        (lambda: qt.register(qt.losses.sft), r'register takes a Variant, or a name.*@register\("my-loss"\)'),
        (lambda: qt.register(3), "register takes a Variant, or a name"),
        (lambda: qt.register("a loss"), "must be non-empty, without spaces"),
        (lambda: qt.register(qt.get("dft"), title="mine"), "was given a Variant and title besides"),
        (lambda: qt.register("x", parameters=3)(qt.losses.sft), "parameters of 'x' must be a dict"),
        (lambda: qt.register("x")(3), "loss of 'x' must be callable"),
        (lambda: qt.register("x", pulls=lambda weight: None)(qt.losses.sft), "makes the pulls of x failed: TypeError"),
        (lambda: qt.register("x", pulls=dict)(qt.losses.sft), "the pulls of x must be a Pulls"),
        (lambda: qt.register(replace(qt.get("dft"), name="x")), "give it another source"),
        (lambda: qt.register(replace(qt.get("dft"), source="user"), overwrite=True), "another name"),
        (lambda: qt.unregister(["x"]), "no variant is named"),
    ],
)
def test_malformed_calls_are_answered_with_a_remedy(call, message):
    with pytest.raises(qt.RegistryError, match=message):
        call()
    assert "x" not in qt.variants()


def test_a_decorator_may_be_used_twice():
    pulls = Pulls.of((directions.label(), 1.0))
    claim = qt.Claim("both", "1", "1", "-", "-", gamma=lambda s: torch.ones_like(s.p_label))
    decorate = qt.register("test-twice", pulls=pulls, claim=claim, formula="-log p_y", overwrite=True)
    try:
        for _ in range(2):
            decorate(qt.losses.sft)
            assert qt.get("test-twice").pulls is pulls
            assert qt.get("test-twice").claim is claim
    finally:
        qt.unregister("test-twice")


def test_registered_parameters_may_have_ranges():
    @qt.register(
        "test-scaled",
        parameters={"scale": 0.5},
        ranges={"scale": Range(0, low_open=True)},
        pulls=lambda scale: Pulls.of((directions.label(), scale)),
    )
    def scaled(logits, labels, *, scale):
        return scale * qt.losses.sft(logits, labels)

    try:
        assert qt.get("test-scaled(scale=2)").pulls.text == "{label: 2}"
        with pytest.raises(qt.RegistryError, match="scale of test-scaled must be a number > 0, not 0"):
            qt.get("test-scaled(scale=0)")
    finally:
        qt.unregister("test-scaled")


def test_rows_of_the_paper_cannot_be_replaced_or_removed():
    with pytest.raises(qt.RegistryError, match="stays"):
        qt.unregister("dft")
    with pytest.raises(qt.RegistryError, match="another name"):
        qt.register("dft", overwrite=True)(lambda logits, labels: -logits[:, 0])
    with pytest.raises(qt.RegistryError, match="must be non-empty"):
        qt.register("my loss")(lambda logits, labels: -logits[:, 0])
    with pytest.raises(qt.RegistryError, match="category"):
        qt.register("test-category", category="nonsense")(lambda logits, labels: -logits[:, 0])


def test_losses_beyond_the_paper_come_next_and_stay():
    beyond = [variant.name for variant in registry.BEYOND_VARIANTS]
    assert list(qt.variants())[16 : 16 + len(beyond)] == beyond
    for name in beyond:
        variant = qt.get(name)
        assert (variant.source, variant.claim) == ("beyond the paper", None)
        assert variant.formula
        assert variant.latex
        assert variant.reference
        with pytest.raises(qt.RegistryError, match=f"'{name}' comes with the package and stays"):
            qt.unregister(name)
    with pytest.raises(qt.RegistryError, match="comes with the package; register yours under another name"):
        qt.register("focal", overwrite=True)(qt.losses.sft)
    with pytest.raises(qt.RegistryError, match="give it another source than 'beyond the paper'"):
        qt.register(replace(qt.get("focal"), name="test-mine"))


@pytest.mark.parametrize(("source", "tried"), [("paper", {2}), ("beyond the paper", {2}), ("user", {1, 2, 3})])
def test_losses_of_the_package_are_taken_as_they_are(source, tried):
    """Rows flat, labels unshifted: only for others it is found out what they take."""
    seen = set()

    def picky(logits, labels):
        seen.add(logits.ndim)
        raise TypeError("not so")

    with pytest.raises(qt.LossError, match="not so"):
        qt.invert(qt.Variant("test-picky", "picky", picky, "one-hot", source=source), qt.probe_batch(8, 20))
    assert seen == tried


def test_a_plug_in_is_loaded_and_a_broken_one_only_warns(monkeypatch):
    from importlib.metadata import EntryPoint

    plugin = qt.Variant(name="test-plugin", title="plug-in", loss=qt.losses.sft, category="one-hot", source="plugin")
    points = [
        EntryPoint("good", "tests_plugin_module:make", registry.ENTRY_POINT_GROUP),
        EntryPoint("broken", "no_such_module_anywhere:VARIANTS", registry.ENTRY_POINT_GROUP),
    ]
    import sys
    import types

    module = types.ModuleType("tests_plugin_module")
    module.make = lambda: [plugin]
    monkeypatch.setitem(sys.modules, "tests_plugin_module", module)
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    monkeypatch.setattr(registry, "_plugins_loaded", False)
    try:
        with pytest.warns(RuntimeWarning, match="broken"):
            assert "test-plugin" in qt.variants()
        assert (qt.invert("test-plugin", qt.probe_batch(8, 20)).mass - 1).abs().max() < 1e-12
    finally:
        qt.unregister("test-plugin")


def test_a_loss_from_a_file(tmp_path):
    path = tmp_path / "my_losses.py"
    path.write_text(
        "import torch\n"
        "def focal(logits, labels):\n"
        "    logp = logits.log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)\n"
        "    return -((1 - logp.exp()) ** 2) * logp\n"
    )
    batch = qt.probe_batch(8, 20)
    assert qt.invert(f"{path}:focal", batch).loss == "focal"
    with pytest.raises(qt.RegistryError, match="no function named 'missing'; it defines focal"):
        resolve(f"{path}:missing")
    with pytest.raises(qt.RegistryError, match="there is no file"):
        resolve(f"{tmp_path}/absent.py:focal")
    path.write_text("raise SystemExit(3)\n")
    with pytest.raises(qt.RegistryError, match="could not be run: SystemExit: 3"):
        resolve(f"{path}:focal")
    path.write_text("raise KeyError('inside')\n")
    with pytest.raises(qt.RegistryError, match="could not be run: KeyError"):
        resolve(f"{path}:focal")


def test_laws_and_pulls_write_their_formulas():
    law = 1 - 0.5 * laws.label_prob(2)
    assert law.text == "1 - 0.5 p_y^2"
    assert (2 * laws.constant(0.25) + 1).text == "1.5"
    assert (-laws.label_prob()).text == "-p_y"
    pulls = Pulls.of((directions.label(), law), (directions.nowhere(), 0.1))
    assert pulls.text == "{label: 1 - 0.5 p_y^2, nowhere: 0.1}"
    with pytest.raises(ValueError, match="cross-entropy"):
        pulls.detached_loss()
