"""Decoys are never given a wrong law: what is named predicts Q on thousands of other states, else "unknown" is said."""

from __future__ import annotations

import pytest
import torch

import qtarget_inspect as qt

from . import decoys
from .judging import FLOAT32_TOLERANCE, assert_never_wrong, assert_says_unknown, label_prob, nll

QUICK = ("reach",)
"""Kinds that run every time; the others are marked slow, being many."""

CASES = [
    pytest.param(kind, name, marks=() if kind in QUICK else pytest.mark.slow)
    for kind, family in decoys.FAMILIES.items()
    for name in family
]

NEVER_A_LAW = [
    ("smooth", "sine"),
    ("smooth", "tanh"),
    ("smooth", "narrow bump"),
    ("almost a law", "sft but for a window"),
    ("almost a law", "dft and sine, 1e-5"),
    ("almost a law", "square root, then p"),
    ("steps", "piecewise linear"),
    ("steps", "threshold on two quantities"),
    ("tokens", "class weights"),
    ("tokens", "rank of the label"),
    ("directions", "hinge"),
    ("directions", "smoothing by neighbours"),
    ("directions", "label permuted now and then"),
    ("context", "window on the reference"),
    ("context", "whitened advantage"),
    ("batch", "batch-normalised p_y"),
    ("batch", "softmax over the batch"),
]
"""Decoys that no sum or product of known quantities can be: "unknown" is the only right answer."""


def identify(loss: decoys.Loss) -> qt.Identification | None:
    """What is found, None where the loss is refused with a message of the package."""
    try:
        return qt.identify(loss)
    except qt.QTargetError:
        return None


def test_there_are_decoys_enough():
    assert sum(map(len, decoys.FAMILIES.values())) > 80


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_decoy_is_never_given_a_wrong_law(kind, name):
    loss = decoys.FAMILIES[kind][name]
    found = identify(loss)
    if found is not None:
        assert_never_wrong(found, loss)


@pytest.mark.slow
@pytest.mark.parametrize("name", decoys.FLOAT32)
def test_a_decoy_in_float32_is_never_given_a_wrong_law(name):
    loss = decoys.FLOAT32[name]
    found = identify(loss)
    if found is not None:
        assert found.precision != torch.float64
        assert_never_wrong(found, loss, FLOAT32_TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), NEVER_A_LAW)
def test_what_no_law_can_say_is_unknown(kind, name):
    found = qt.identify(decoys.FAMILIES[kind][name])
    assert_says_unknown(found)


def test_the_table_of_an_unknown_weight_shows_the_weight():
    found = qt.identify(decoys.SMOOTH["sine"])
    table = found.table()
    table = table[table["rounding label"] < 1e-9]
    p = torch.tensor(table["p_y"].to_numpy(copy=True))
    expected = 1 + 0.5 * torch.sin(7 * p)
    assert (torch.tensor(table["pull label"].to_numpy(copy=True)) - expected).abs().max() < 1e-7
    assert found.gamma_law.text == "unknown law"
    assert found.unknown == ("label",)


@pytest.mark.parametrize("share", [0.1, 1e-4, 1e-7])
def test_random_weights_are_told_by_calling_twice(share):
    found = qt.identify(decoys.noisy(share))
    assert_says_unknown(found)
    assert any("two calls" in warning for warning in found.warnings)


def test_random_masks_are_told():
    assert_says_unknown(qt.identify(decoys.dropped))


@pytest.mark.parametrize("make", [decoys.growing, decoys.annealed])
def test_a_loss_that_changes_with_every_call_has_no_law(make):
    assert_says_unknown(qt.identify(make()))


@pytest.mark.parametrize("after", [1, 3, 5, 8, 12, 20, 40])
def test_a_loss_that_turns_after_some_calls_is_named_as_it_ends_or_not_at_all(after):
    found = qt.identify(decoys.turning(after))
    if found.has_law:
        assert_never_wrong(found, lambda logits, labels: label_prob(logits, labels) * nll(logits, labels))
    else:
        assert_says_unknown(found)
