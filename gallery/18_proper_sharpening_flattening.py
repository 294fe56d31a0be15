# %% [markdown]
# # What is learned from q\*: proper, sharpened, flattened
#
# Cross-entropy learns q\* = (0.5, 0.3, 0.2), from which the labels are drawn (grey); coloured is where each model
# ends. Beyond-log with alpha = 0.5 learns q\*^2 / Z, which is sharper; GEM, focal loss and label smoothing end
# flatter. The word above each panel is the verdict of `qt.fixed_points`.
#
# Misread: flatter may be wanted (GEM is made for it); a verdict says what is learned, not whether that is good.
#
# Chapter: Populations

# %%
import matplotlib.pyplot as plt
import numpy as np

import qtarget_inspect as qt
from qtarget_inspect.plots import CATEGORY_COLOURS, figure_style

q_star = [0.5, 0.3, 0.2]
losses = ["sft", "beyond-log(alpha=0.5)", "gem", "focal", "label-smoothing"]
names = ["SFT", "Beyond-log (alpha=0.5)", "GEM", "focal loss", "label smoothing"]

# %%
with figure_style(size=9):
    figure, axes = plt.subplots(1, 5, figsize=(8, 2.8), layout="constrained", sharey=True)
    for ax, loss, name in zip(axes, losses, names, strict=True):
        variant, found = qt.get(loss), qt.fixed_points(loss, q_star)
        ax.bar(np.arange(3), q_star, width=0.85, color="lightgrey")
        ax.bar(np.arange(3), found.learned.tolist(), width=0.45, color=CATEGORY_COLOURS[variant.category])
        ax.set_title(f"{name}\n{found.verdict}")
        ax.set_xticks(range(3), ["0", "1", "2"])
    axes[0].set_ylabel("probability")
    axes[2].set_xlabel("token")
plt.show()
