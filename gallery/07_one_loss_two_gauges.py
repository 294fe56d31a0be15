# %% [markdown]
# # One loss, two gauges
#
# ASFT pulls to the label with weight p_y and to the reference model with 0.05. In the unit gauge Q = p - g that gives
# gamma = p_y, and the model fills up the rest. In the normalized gauge the pulls are divided by their sum, the model
# drops out, and gamma = p_y / (p_y + 0.05). Both describe one gradient.
#
# Misread: the higher curve on the right does not mean that more is learned; a gradient fixes a direction, and no step.
#
# Chapter: Residuals

# %%
import matplotlib.pyplot as plt

import qtarget_inspect as qt
from qtarget_inspect.plots import figure_style, plot_gamma

# %%
with figure_style(size=9):
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained", sharey=True)
    for ax, gauge in zip(axes, ("unit", "normalized"), strict=True):
        sweep = qt.sweep("asft", gauge=gauge)
        plot_gamma(sweep, ax=ax)
        ax.set_title(f"{gauge} gauge")
plt.show()
