# %% [markdown]
# # GEM's negative mass
#
# GEM trusts the label fully, takes away a sharpened model q and gives back the model p: Q = onehot(y) + p - q. Where q
# is larger than p, on the model's favourite, the target is negative (hatched), while all of Q still sums to 1. Along
# p_y (right) that lasts up to p_y = 0.39, beyond which the label is so likely that sharpening lowers the favourite too.
#
# Misread: negative mass is no mistake of GEM; it says that its target cannot be read, or sampled, as probabilities.
#
# Chapter: Not a distribution

# %%
import matplotlib.pyplot as plt
import torch

import qtarget_inspect as qt
from qtarget_inspect.plots import figure_style, plot_q, plot_target

words = ["Canberra", "Sydney", "Melbourne", "Perth"]
p = torch.tensor([[0.08, 0.62, 0.20, 0.10]], dtype=torch.float64)
reading = qt.decompose(qt.invert("gem", qt.TokenBatch(p.log(), torch.tensor([0]))), gauge="natural")

# %%
with figure_style(size=9):
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    plot_target(qt.target_table(reading, texts=lambda ids: [words[i] for i in ids]), ax=left)
    plot_q(qt.sweep("gem"), ax=right)
plt.show()
