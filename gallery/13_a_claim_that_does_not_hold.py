# %% [markdown]
# # A claim that does not hold under inversion
#
# Inversion finds the model itself as the residual of Proximal SFT (right), where the table of arXiv 2606.11189 has the
# old policy (left, with the gamma that inversion finds). The old policy enters through the ratio r = p_y / old_y
# alone, and gamma = r up to r = 1.28, then 0. No gamma makes the two agree: off the label, one has the old policy's
# shape and the other the model's.
#
# Misread: nothing here speaks against the method; it trains what it trains, and only its row in the table reads
# otherwise.
#
# Chapter: Not a distribution

# %%
import matplotlib.pyplot as plt
import torch

import qtarget_inspect as qt
from qtarget_inspect.plots import figure_style, plot_targets

words = ["Canberra", "Sydney", "Melbourne", "Perth"]
p, old = torch.tensor([[[0.20, 0.55, 0.15, 0.10]], [[0.40, 0.10, 0.15, 0.35]]], dtype=torch.float64)
batch = qt.TokenBatch(p.log(), torch.tensor([0]), old_logits=old.log())
reading = qt.decompose(qt.invert("psft", batch), gauge="natural")
found = qt.target_table(reading, texts=lambda ids: [words[i] for i in ids])
claimed = found.assign(method="claimed: residual = old policy", residual=[old[0, i].item() for i in found.entry])
claimed["q"] = claimed.gamma * claimed.is_label + (1 - claimed.gamma) * claimed.residual
claimed["change"] = claimed.q - claimed.p

# %%
with figure_style(size=9):
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    plot_targets([claimed, found.assign(method="found: residual = model")], axes=axes)
plt.show()
