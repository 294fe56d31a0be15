"""Shape aliases: N tokens, V vocabulary, B sequences, T positions. Checked at run time in tests only."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

TokenLogits = Float[Tensor, "N V"]
"""Logits, distributions and gradients of N tokens, one row a token."""

TokenLabels = Int[Tensor, "N"]
"""The observed token of each row, an index into the vocabulary."""

PerToken = Float[Tensor, "N"]
"""One number a token: a pull weight, a mass, an entropy."""

TokenMask = Bool[Tensor, "N"]
"""One truth value a token: a flag."""
