"""Losses take a batch, one token, or any leading axes, and their shapes are checked in the tests."""

import pytest
import torch

import qtarget_inspect as qt
from qtarget_inspect import losses

PER_TOKEN = [variant for variant in qt.variants().values() if variant.coupling is None]


@pytest.mark.parametrize("variant", PER_TOKEN, ids=lambda variant: variant.name)
def test_one_token_is_as_good_as_a_batch(variant):
    batch = qt.probe_batch(12, 30)
    context = {name: getattr(batch, name) for name in variant.context}
    together = variant(batch.logits, batch.labels, **context)
    assert together.shape == (12,)
    alone = variant(batch.logits[3], batch.labels[3], **{name: value[3] for name, value in context.items()})
    assert alone.shape == ()
    assert torch.allclose(alone, together[3], rtol=1e-14)
    grid = variant(
        batch.logits.view(3, 4, 30),
        batch.labels.view(3, 4),
        **{n: v.view(3, 4, *v.shape[1:]) for n, v in context.items()},
    )
    assert torch.allclose(grid.flatten(), together, rtol=1e-14)


def test_the_shape_checker_is_at_work():
    with pytest.raises(Exception, match=r"(?s)labels"):
        losses.sft(torch.zeros(3, 5), torch.zeros(2, dtype=torch.long))
