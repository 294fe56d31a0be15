# %% [markdown]
# # Focal loss trusts some labels more than fully
#
# Focal loss turns away from easy tokens: gamma falls to 0 as p_y goes to 1. But its weight (1 - p_y)^2 is not
# detached, so its own derivative pulls as well. With the usual exponent 2, gamma lies above 1 wherever p_y < 0.30, up
# to 1.22 at p_y = 0.10; there Q on other tokens is negative.
#
# Misread: gamma above 1 is no numerical error; it is a pull past the label, and Q is no distribution there.
#
# Chapter: Not a distribution

# %%
import matplotlib.pyplot as plt

import qtarget_inspect as qt
from qtarget_inspect.plots import figure_style, plot_gamma

sweep = qt.sweep(["focal(focusing=1)", "focal(focusing=2)", "focal(focusing=5)"])

# %%
with figure_style(size=9):
    figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
    plot_gamma(sweep, ax=ax)
    ax.axhline(1, color="black", linewidth=0.6)
plt.show()
