# %% [markdown]
# # A mean over tokens drives Q to p
#
# Cross-entropy averaged over N tokens has 1/N of the gradient on each, so that p - g lies next to p, as if the loss
# taught next to nothing. The mean sets the step, not the target: `qt.invert` tries tokens alone and in company, finds
# the mean and undoes it (black).
#
# Misread: the blue lines are right gradients, of a batch; wrong is only to read them as a token's.
#
# Chapter: Traps

# %%
import matplotlib.pyplot as plt
import torch
from torch.nn.functional import cross_entropy

import qtarget_inspect as qt
from qtarget_inspect.plots import CATEGORY_COLOURS, figure_style

# %%
with figure_style(size=9):
    figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
    for size, style in ((2, ":"), (8, "--"), (64, "-")):
        p_y = torch.linspace(0.01, 0.99, size, dtype=torch.float64)
        logits, labels = torch.stack([p_y, 1 - p_y], -1).log(), torch.zeros(size, dtype=torch.long)
        g = torch.func.grad(cross_entropy)(logits, labels)
        ax.plot(p_y, p_y - g[:, 0], style, color=CATEGORY_COLOURS["label trust"], label=f"p - g, mean over {size}")
    target = qt.invert(cross_entropy, qt.TokenBatch(logits, labels))
    ax.plot(p_y, target.q_label, color="black", label=f"qt.invert: {target.reduction.text}")
    ax.set(xlabel="$p_y$, the model's probability of the label", ylabel="Q on the label")
    ax.legend(frameon=False, loc="lower right")
plt.show()
