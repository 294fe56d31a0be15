# %% [markdown]
# # Three readings of one target
#
# One target of DFT, read three times: the bars are the same, and only the words for them differ. As a pull (attractor)
# and with the model as residual (self), gamma is p_y and the residual is p. Without any assumption (label-free) gamma
# is all of Q_y, which is 2 p_y - p_y^2, and the residual has no label left.
#
# Misread: "gamma of DFT" is no number until a reading is named; 0.25 and 0.44 are both right.
#
# Chapter: Residuals

# %%
import matplotlib.pyplot as plt
import torch

import qtarget_inspect as qt
from qtarget_inspect.plots import figure_style, plot_targets

words = ["Canberra", "Sydney", "Melbourne", "Perth"]
p = torch.tensor([[0.25, 0.50, 0.15, 0.10]], dtype=torch.float64)
target = qt.invert("dft", qt.TokenBatch(p.log(), torch.tensor([0])))
readings = [qt.decompose(target, reading=reading) for reading in ("attractor", "self", "label-free")]

# %%
with figure_style(size=9):
    figure, axes = plt.subplots(1, 3, figsize=(8, 3), layout="constrained")
    plot_targets(qt.target_table(readings, texts=lambda ids: [words[i] for i in ids]), axes=axes)
plt.show()
