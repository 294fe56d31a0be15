"""Shape aliases: N tokens, V vocabulary; the leading axes may be any, so one token is as good as a batch.

They are checked at run time in the tests only (see conftest.py).
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor

Rows = Float[Tensor, "*N V"]
"""Logits, distributions, log-probabilities or gradients: one row a token."""

Labels = Int[Tensor, "*N"]
"""The observed token of each row, an index into the vocabulary."""

PerToken = Float[Tensor, "*N"]
"""One number a token: a loss, a pull weight, an entropy."""

Mask = Bool[Tensor, "*N"]
"""One truth value a token."""

Ids = Int[Tensor, "*N"]
"""One integer a token: which sequence it belongs to."""
