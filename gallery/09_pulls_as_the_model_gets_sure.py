# %% [markdown]
# # What pulls, and when
#
# ASFT is two pulls: to the label with weight p_y, and to the reference model with weight 0.05 everywhere. While the
# model doubts the label (left of p_y = 0.05) the reference is the stronger one, so doubtful labels are replaced by
# what the reference says; further right the label takes over.
#
# Misread: a weight is no distance; a pull of any weight is 0 where the model is at its attractor already.
#
# Chapter: Residuals

# %%
import matplotlib.pyplot as plt

import qtarget_inspect as qt
from qtarget_inspect.plots import figure_style, plot_pulls

# %%
with figure_style(size=9):
    figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
    plot_pulls(qt.sweep("asft"), ax=ax)
plt.show()
