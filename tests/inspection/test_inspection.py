"""inspect: what a user sees, in text and HTML, for losses of every kind."""

import re

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

import qtarget_inspect as qt


def facts(seen: qt.Inspection) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in seen.text().splitlines()[1:]:
        if line[2] == "!":
            break
        if line[2:12].strip():
            label = line[2:12].strip()
            found[label] = line[12:]
        else:  # a broken line goes on
            found[label] += " " + line.strip()
    return found


def root_dft(logits, labels):
    logp = logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)
    return -logp.exp().detach().sqrt() * logp


def test_the_loss_of_the_front_page():
    seen = qt.inspect(root_dft)
    head = seen.text().splitlines()[0]
    assert head.startswith("root_dft")
    assert "label trust · unit gauge · attractor reading" in head
    assert facts(seen)["gamma"] == "p_y^0.5   (0.0001 to 1)"
    assert facts(seen)["residual"].startswith("the model itself")
    assert facts(seen)["nearest"].startswith("beyond-log(alpha=0.5): the same gradient")
    assert facts(seen)["learns"] == "q*^2 / Z (sharpening): not proper"
    assert facts(seen)["audit"] == "per token; no coupling; a stop-gradient; shift invariant"
    assert facts(seen)["Q"] == "a distribution everywhere (sum 1, no negative mass)"
    assert facts(seen)["reduction"].startswith("none")
    assert seen.warnings == ()
    assert repr(seen) == seen.text()


def test_the_curve_is_the_mean_of_gamma_in_bins_of_p():
    table = qt.inspect("dft").table()
    assert ((table["gamma_min"] >= table["p_y_from"]) & (table["gamma_max"] <= table["p_y_to"])).all()
    assert table["tokens"].sum() == 512
    assert set(table["gauge"]) == {"unit"}


def test_a_registered_loss_shows_its_formula_and_is_differentiated():
    seen = qt.inspect("asft(kl_weight=0.2)")
    assert facts(seen)["gamma"].startswith("p_y / (p_y + 0.2)")
    assert facts(seen)["residual"] == "reference"
    assert seen.target.method == "torch.func"
    assert seen.row()["gauge"][0] == "normalized"


def test_signed_targets_say_where_and_why():
    text = facts(qt.inspect("iw-sft"))["Q"]
    assert text.startswith("NOT a distribution: negative mass on")
    assert "the pull to the label exceeds 1 (up to 16)" in text
    gem = facts(qt.inspect("gem"))
    assert re.search(r"negative mass on \d+ % of tokens, down to -0\.\d+ \((token \d+|the label) at p_y = ", gem["Q"])
    assert gem["residual"].startswith("none: gamma is 1")


def test_lost_mass_is_told():
    def with_z_loss(logits, labels):
        return F.cross_entropy(logits, labels, reduction="none") + 0.01 * logits.logsumexp(-1) ** 2

    assert "not shift invariant" in facts(qt.inspect(with_z_loss))["Q"]
    assert "nowhere" in facts(qt.inspect(with_z_loss))["pulls"]


def test_the_trainers_own_function():
    def trainer_loss(outputs, labels, num_items_in_batch=None):
        logits, labels = outputs.logits[:, :-1], labels[:, 1:]
        summed = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")
        return summed / num_items_in_batch

    seen = qt.inspect(trainer_loss)
    assert any("with num_items_in_batch = 8 the gradient is 0.125 of this" in w for w in seen.warnings)
    assert facts(seen)["gamma"] == "1"


def test_a_mean_is_undone_and_shown():
    def mean(logits, labels):
        return F.cross_entropy(logits, labels)

    assert facts(qt.inspect(mean))["reduction"] == "mean over 512 tokens, undone"


def test_a_pull_to_the_teacher_is_found():
    def mixture(logits, labels, teacher_logits):
        kl = F.kl_div(logits.log_softmax(-1), teacher_logits.log_softmax(-1), log_target=True, reduction="none").sum(-1)
        return (0.8 * F.cross_entropy(logits, labels, reduction="none") + 0.2 * kl).mean()

    seen = qt.inspect(mixture)
    assert facts(seen)["gamma"].startswith("0.8;")
    assert facts(seen)["pulls"].startswith("{label: 0.8, teacher: 0.2}")
    assert facts(seen)["residual"] == "teacher"


def test_what_the_known_attractors_do_not_explain_is_said():
    def unusual(logits, labels):
        return qt.losses.target_sft(logits, labels, (2 * logits.detach()).sin())

    seen = qt.inspect(unusual)
    assert not seen.explained
    assert "label-free reading · NOT explained by the known attractors" in seen.text().splitlines()[0]
    assert "% of the gradient unexplained" in seen.warnings[0]
    assert torch.allclose(seen.reading.gamma, seen.target.q_label)


def test_declared_pulls_that_are_wrong_are_told():
    from qtarget_inspect.vocabulary import directions
    from qtarget_inspect.vocabulary.pulls import Pulls

    @qt.register("test-wrong-pulls", pulls=Pulls.of((directions.label(), 0.3)))
    def wrong(logits, labels):
        return qt.losses.dft(logits, labels)

    try:
        seen = qt.inspect("test-wrong-pulls")
        assert "the declared pulls leave up to" in seen.warnings[0]
        assert "NOT explained" in seen.headline()
    finally:
        qt.unregister("test-wrong-pulls")


def test_rounding_is_not_called_a_broken_invariance():
    def cast(logits, labels):
        return F.cross_entropy(logits.float(), labels, reduction="none")

    seen = qt.inspect(cast)
    assert facts(seen)["Q"].startswith("a distribution everywhere")
    assert "float32 inside" in facts(seen)["precision"]
    assert facts(seen)["gamma"] == "1"


def test_a_small_pull_is_not_lost_in_float32():
    def small(logits, labels, teacher_logits):
        return qt.losses.sft(logits, labels) + 0.001 * qt.losses.kd(logits, labels, teacher_logits)

    seen = qt.inspect(small, qt.probe_batch(dtype=torch.float32))
    assert facts(seen)["residual"].startswith("teacher")
    assert facts(seen)["pulls"].startswith("{label: 1, teacher: 0.001}")


@pytest.mark.parametrize("weight", [1e-7, 1e-3, 1e3])
def test_scale_changes_no_sentence(weight):
    def scaled(logits, labels):
        return weight * qt.losses.sft(logits, labels)

    seen = qt.inspect(scaled)
    assert facts(seen)["residual"].startswith(("the model itself", "none: gamma is 1"))
    assert seen.explained


def test_two_tokens_explain_nothing():
    seen = qt.inspect(root_dft, qt.probe_batch(64, 2))
    assert facts(seen)["residual"].startswith("cannot be told")
    assert any("as many directions as dimensions" in warning for warning in seen.warnings)


def test_a_vector_divided_by_the_number_of_tokens_is_told():
    def shrunk(logits, labels):
        return F.cross_entropy(logits, labels, reduction="none") / len(labels)

    assert any("reduction='mean' undoes it" in warning for warning in qt.inspect(shrunk).warnings)
    assert facts(qt.inspect(shrunk, reduction="mean"))["gamma"] == "1"


def test_html_is_escaped_and_whole():
    seen = qt.inspect("dft")
    html = seen._repr_html_()
    assert "<table>" in html
    assert "gamma over p_y" in html
    assert '<img alt="dft: label trust' in html
    evil = qt.adapt(root_dft, name="<script>alert(1)</script>")
    assert "<script>" not in qt.inspect(evil)._repr_html_()


def test_on_a_users_batch_with_strange_context():
    batch = qt.probe_batch(40, 20, dtype=torch.float32)
    lean = qt.TokenBatch(batch.logits, batch.labels)
    seen = qt.inspect("gem", lean)
    assert "40 tokens of your batch, V = 20" in seen.text()
    with pytest.raises(qt.MissingContextError, match=r"needs teacher_logits \[N, V\], and the batch has none"):
        qt.inspect("kd", lean)
    assert isinstance(qt.inspect("eaft", lean).table(), pd.DataFrame)


def test_the_parts_are_there_and_the_row_holds_them():
    seen = qt.inspect(root_dft)
    row = seen.row().iloc[0]
    assert (row["category"], row["gauge"], row["gamma"]) == ("label trust", "unit", "p_y^0.5")
    assert row["nearest"].startswith("beyond-log(alpha=0.5)")
    assert row["learns"] == seen.learned.text
    assert seen.learned.found.verdict == "sharpening"
    assert seen.to_latex() == r"root\_dft & label trust & $p_y^{0.5}$ & $p$ & unit \\"
    for part in ("nearest", "learns", "audit"):
        assert f">{part}<" in seen._repr_html_()


def test_a_loss_without_a_view_at_one_context_says_so():
    seen = qt.inspect("dpo")
    assert seen.learned is None
    assert facts(seen)["learns"].startswith("not told: fixed_points: dpo(beta=0.1) compares whole sequences")


def test_a_registered_loss_is_not_its_own_neighbour():
    assert facts(qt.inspect("dft"))["nearest"].startswith("p-loss: the same gradient")


def test_a_loss_bound_to_a_vocabulary_is_named_on_the_batch():
    weights = torch.linspace(0.5, 2.0, 20, dtype=torch.float64)

    def weighted(logits, labels):
        return F.cross_entropy(logits, labels, weight=weights, reduction="none")

    seen = qt.inspect(weighted, qt.probe_batch(96, 20))
    assert seen.identification.unknown == ("label",)
    assert "tokens of your batch" in seen.identification.states


def test_what_the_probes_did_not_show_is_told():
    batch = qt.probe_batch(64, 2400)

    def surprising(logits, labels):  # tokens beyond those that the probes have count twice
        return torch.where(labels > 1600, 2.0, 1.0).to(logits) * qt.losses.sft(logits, labels)

    assert int((batch.labels > 1600).sum()) > 2
    seen = qt.inspect(surprising, batch)
    assert any("something that the probes did not show" in warning for warning in seen.warnings)
