# %% [markdown]
# # A worked solution, token by token
#
# The labels of a real SFT example, tinted by their trust under five losses; p_y of the model stands above. EAFT trusts
# where the model is undecided, DFT and Target-SFT where it believes. Marked: tokens on which the losses part ways.
#
# Misread: rows compare within a gauge only: ASFT* is in the normalized one. The model is SmolLM2-135M-Instruct from a
# dequantised Q4_1 file, not the published weights.
#
# Chapter: A real model

# %%
import matplotlib.pyplot as plt

import qtarget_inspect as qt
from qtarget_inspect import models
from qtarget_inspect.plots import figure_style, plot_tokens

solution = models.worked_solution()
table = qt.token_table(["sft", "dft", "eaft", "asft", "target-sft"], solution.batch)

# %%
with figure_style(size=9):
    figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
    plot_tokens(table, ax=ax)
plt.show()
