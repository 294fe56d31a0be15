# %% [markdown]
# # Cross-entropy finds the distribution of the labels
#
# With labels drawn from q\* = (0.5, 0.3, 0.2), cross-entropy leads every model to q\* itself (right): it is proper.
# Each point of the triangle is a model of three tokens; arrows show where the expected gradient moves it, and lines
# where it ends. For one label (left) everything runs into its corner.
#
# Misread: the flow is that of free logits at one context; a network moves all contexts at once.
#
# Chapter: Populations

# %%
import matplotlib.pyplot as plt

import qtarget_inspect as qt
from qtarget_inspect.plots import figure_style, plot_simplex

fields = qt.simplex_field("sft", label=0), qt.simplex_field("sft", q_star=[0.5, 0.3, 0.2])

# %%
with figure_style(size=9):
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained", subplot_kw={"projection": "ternary"})
    for ax, field in zip(axes, fields, strict=True):
        plot_simplex(field, ax=ax)
plt.show()
