# %% [markdown]
# # The gradient on the label and on another token
#
# What a loss does to two logits: the label's (solid, pulled up: g < 0) and the model's favourite other token (dashed,
# pushed down: g > 0). Cross-entropy pulls hardest at labels that the model finds impossible. DFT pulls hardest at p_y
# = 1/2 and lets go at both ends; with label smoothing the pull changes sign where the model is surer than 0.903.
#
# Misread: the curves belong to made-up tokens with one shape of the others; another shape moves the dashed ones.
#
# Chapter: Targets

# %%
import matplotlib.pyplot as plt

import qtarget_inspect as qt
from qtarget_inspect.plots import figure_style, plot_gradient

sweep = qt.sweep(["sft", "dft", "label-smoothing"])

# %%
with figure_style(size=9):
    figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
    plot_gradient(sweep, ax=ax)
plt.show()
