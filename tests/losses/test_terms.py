"""Shared terms of losses keep their digits and a finite slope where p_y is 0 or 1."""

import math

import pytest
import torch

from qtarget_inspect import losses
from qtarget_inspect.losses.terms import is_sole, log_likelihood, negative_log_likelihood

INFINITY = float("inf")


@pytest.mark.parametrize("lead", [-800.0, -3.0, 0.0, 0.3, 2.0, 30.0, 60.0, 600.0])
def test_log_likelihood_has_its_digits_at_every_probability(lead):
    """V = 2: log p_y = -log(1 + e^-lead), its slope 1 / (1 + e^lead)."""
    logits = torch.tensor([[lead, 0.0]], dtype=torch.float64, requires_grad=True)
    value = log_likelihood(logits, torch.tensor([0]))
    (slope,) = torch.autograd.grad(value.sum(), logits)
    expected = -math.log1p(math.exp(-lead)) if lead > -700 else lead
    assert math.isclose(float(value.detach()), expected, rel_tol=1e-14)
    exact = 1 / (1 + math.exp(lead))
    assert torch.allclose(slope, torch.tensor([[exact, -exact]], dtype=torch.float64), rtol=1e-13, atol=0)


def test_the_plain_log_likelihood_rounds_to_zero_there():
    logits = torch.tensor([[60.0, 0.0]], dtype=torch.float64)
    assert float(negative_log_likelihood(logits, torch.tensor([0]))) == 0
    assert float(log_likelihood(logits, torch.tensor([0]))) < 0


def test_a_sole_token_is_certain_and_an_excluded_one_impossible():
    logits = torch.tensor([[1.0, -INFINITY], [-INFINITY, 1.0], [1.0, 2.0]], requires_grad=True)
    labels = torch.tensor([0, 0, 0])
    assert is_sole(logits, labels).tolist() == [True, False, False]
    value = log_likelihood(logits, labels)
    assert value[:2].tolist() == [0.0, -INFINITY]
    (slope,) = torch.autograd.grad(value.sum(), logits)
    assert torch.isfinite(slope).all()
    assert slope[0].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("offset", [100.0, 1e4, -1e4])
def test_z_loss_keeps_its_digits_where_logits_are_offset(offset):
    rows = torch.randn(8, 20, generator=torch.Generator().manual_seed(0)) + offset
    labels = torch.arange(8)

    def slope(logits):
        logits = logits.requires_grad_()
        return torch.autograd.grad(losses.z_loss(logits, labels, z_weight=0.1).sum(), logits)[0].double()

    exact = slope(rows.double())
    assert (slope(rows.clone()) - exact).abs().max() < 1e-6 * exact.abs().max()
