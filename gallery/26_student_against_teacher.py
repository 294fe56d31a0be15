# %% [markdown]
# # Student against teacher
#
# Each token of the solution at the model's p_y and the teacher's; the arrow ends at Q_y. DFT (left) asks the model
# alone: an arrow's length depends on p_y only. Target-SFT (right) goes further where the teacher trusts the label: far
# in the upper left, where only the teacher does, hardly in the lower left, where neither does.
#
# Misread: arrows are targets, not steps, and marks go by differences, not by quadrants. Both roles are played by one
# SmolLM2-135M (dequantised Q4_1).
#
# Chapter: A real model

# %%
import matplotlib.pyplot as plt

import qtarget_inspect as qt
from qtarget_inspect import models
from qtarget_inspect.plots import figure_style, plot_quadrants

solution = models.worked_solution()

# %%
with figure_style(size=9):
    figure, axes = plt.subplots(1, 2, figsize=(8, 4.2), layout="constrained")
    for ax, loss in zip(axes, ("dft", "target-sft"), strict=True):
        plot_quadrants(qt.token_table(loss, solution.batch), ax=ax)
plt.show()
