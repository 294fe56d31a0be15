"""Titles: parameters that are not the default always stand in them, and no two losses have one."""

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect.tables.method_titles import method_titles
from qtarget_inspect.variants import Variant


def title(loss):
    variant = qt.get(loss)
    return method_titles([variant.label], [variant.title])[0]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("sft", "SFT"),
        ("beyond-log", "Beyond-log"),
        ("beyond-log(alpha=10)", "Beyond-log"),
        ("beyond-log(alpha=0.5)", "Beyond-log (alpha=0.5)"),
        ("sft-kl(kl_weight=0.5)", "SFT + KL (kl_weight=0.5)"),
        ("psft(epsilon=0.3)", "Proximal SFT (epsilon=0.3)"),
        ("psft(epsilon=0.3, epsilon_high=0.4)", "Proximal SFT (epsilon=0.3, epsilon_high=0.4)"),
    ],
)
def test_parameters_that_are_not_the_default_stand_in_the_title(loss, expected):
    assert title(loss) == expected


def test_every_registered_loss_at_its_defaults_has_its_title_alone():
    losses = list(qt.variants().values())
    assert [method_titles([one.label], [one.title])[0] for one in losses] == [one.title for one in losses]


def test_two_losses_of_one_title_show_all_their_parameters():
    losses = [qt.get("psft"), qt.get("psft(epsilon=0.3)"), qt.get("dft")]
    assert method_titles([one.label for one in losses], [one.title for one in losses]) == [
        "Proximal SFT (epsilon=0.2, epsilon_high=0.28)",
        "Proximal SFT (epsilon=0.3, epsilon_high=0.28)",
        "DFT",
    ]


def test_one_loss_twice_is_one_title():
    assert method_titles(["asft(kl_weight=0.05)"] * 2, ["ASFT"] * 2) == ["ASFT", "ASFT"]


@pytest.mark.parametrize("name", ["beyond-log(alpha=0.5)", "sft", "focal(gamma=tensor[3])", "a (b", "日本(x=1)"])
def test_losses_that_are_not_registered_keep_their_names(name):
    assert method_titles([name], [name]) == [name]


def test_values_that_are_no_numbers_are_shown_too():
    def loss(logits, labels, power):
        return -logits.log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)

    qt.register(Variant("to-a-power", "To a power", loss, "one-hot", {"power": float("inf")}))
    try:
        plain, other = qt.get("to-a-power"), qt.get("to-a-power").with_parameters(power=float("-inf"))
        titles = [method_titles([one.label], [one.title])[0] for one in (plain, other)]
    finally:
        qt.unregister("to-a-power")
    assert titles == ["To a power", "To a power (power=-inf)"]


def test_the_tables_of_tokens_use_them():
    batch = qt.TokenBatch(torch.tensor([[0.5, 0.3, 0.2]]).log(), torch.tensor([1]))
    assert qt.token_table("beyond-log(alpha=0.5)", batch).method.tolist() == ["Beyond-log (alpha=0.5)"]
    reading = qt.decompose(qt.invert("beyond-log(alpha=0.5)", batch))
    assert set(qt.target_table(reading).method) == {"Beyond-log (alpha=0.5)"}
