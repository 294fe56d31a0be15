# %% [markdown]
# # Why DFT collapses and EAFT does not
#
# DFT weighs a label by p_y, so a logit rises where the token's q\* is above the average over p and falls where it is
# below. The likeliest label is always above: every line runs to its corner, and the others die out. EAFT's weight, the
# entropy, is the same for all labels of a context: it scales the step and leaves the end, q\* = (0.5, 0.3, 0.2).
#
# Misread: collapse needs many labels for one context; where a context has one right label, both end at it.
#
# Chapter: Populations

# %%
import matplotlib.pyplot as plt

import qtarget_inspect as qt
from qtarget_inspect.plots import figure_style, plot_simplex

# %%
with figure_style(size=9):
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained", subplot_kw={"projection": "ternary"})
    for ax, loss in zip(axes, ("dft", "eaft"), strict=True):
        plot_simplex(qt.simplex_field(loss, q_star=[0.5, 0.3, 0.2]), ax=ax)
plt.show()
