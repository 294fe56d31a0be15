# %% [markdown]
# # How far does a loss trust a label?
#
# Cross-entropy trusts every label fully (gamma = 1), DFT as far as the model believes it already (gamma = p_y),
# Beyond-log (p_y^10) only where the model is nearly sure, and ProFiT not at all up to p_y = 0.1 and fully above. The
# curves are label trust against p_y, the model's probability of the label.
#
# Misread: a gamma near 0 does not teach the opposite; it leaves the token as the model has it.
#
# Chapter: Targets

# %%
import matplotlib.pyplot as plt

import qtarget_inspect as qt
from qtarget_inspect.plots import figure_style, plot_gamma

sweep = qt.sweep(["sft", "dft", "beyond-log", "profit"])

# %%
with figure_style(size=9):
    figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
    plot_gamma(sweep, ax=ax)
plt.show()
