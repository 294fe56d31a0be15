# %% [markdown]
# # Sixteen losses on the tokens of a real solution
#
# Fourteen losses of the paper's table and two beyond it, on the 36 tokens of one solution, with 95 % bootstrap
# intervals over the tokens. Label trust gamma says how far labels are trusted, TV(Q, p) how far the target lies from
# the model; signed is the share of tokens on which Q has negative mass.
#
# Misread: gammas of different gauges do not compare, and the intervals speak of this solution, not of other texts. The
# model is SmolLM2-135M-Instruct from a dequantised Q4_1 file.
#
# Chapter: A real model

# %%
import matplotlib.pyplot as plt

import qtarget_inspect as qt
from qtarget_inspect import models
from qtarget_inspect.plots import figure_style, plot_table

solution = models.worked_solution()
unknown = {"old_logits", "critical"}  # what a text alone does not bring
paper = [name for name, loss in qt.variants().items() if loss.source == "paper" and not unknown & set(loss.context)]
table = qt.compare([*paper, "focal", "reverse-kl"], solution.batch)

# %%
with figure_style(size=9):
    plot_table(table, columns=["loss", "gauge", "gamma", "TV(Q, p)", "negative mass", "signed"])
plt.show()
