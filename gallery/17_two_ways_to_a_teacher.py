# %% [markdown]
# # Two ways to a teacher with two modes
#
# Forward and reverse KL both end at a teacher that gives two tokens 0.475 each (filled), for logits are free here. But
# reverse KL's pull on a token fades with that token's p, and six points of rest, unstable ones, lie where a token is
# missing (open). From p = (0.98, 0.01, 0.01) it takes 2.4 times as long as forward KL to give the second mode 0.4:
# what the model does not hold is found late.
#
# Misread: lines tell no time, and arrows compare within one panel. What a model does that cannot hold both modes is
# another matter.
#
# Chapter: Populations

# %%
import matplotlib.pyplot as plt
import torch

import qtarget_inspect as qt
from qtarget_inspect.plots import figure_style, plot_simplex

teacher = torch.tensor([0.475, 0.05, 0.475], dtype=torch.float64).log()

# %%
with figure_style(size=9):
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained", subplot_kw={"projection": "ternary"})
    for ax, loss in zip(axes, ("forward-kl", "reverse-kl"), strict=True):
        plot_simplex(
            qt.simplex_field(loss, teacher_logits=teacher), tokens=["first mode", "neither", "second mode"], ax=ax
        )
plt.show()
