# %% [markdown]
# # Target-SFT's eta moves the residual, not the trust
#
# eta lifts Q on the label from 0.51 to 0.86, though the label is trusted no more than before: gamma stays p_y = 0.3.
# What moves is the residual, from the model (eta = 0: this is DFT) to the teacher (eta = 1), which gives this label
# 0.8.
#
# Misread: Q on the label is not gamma; here all of the difference is the teacher's.
#
# Chapter: Residuals

# %%
import matplotlib.pyplot as plt

import qtarget_inspect as qt
from qtarget_inspect.plots import figure_style, plot_sensitivity

# %%
with figure_style(size=9):
    figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
    plot_sensitivity(qt.sweep("target-sft", over="eta"), ax=ax)
plt.show()
