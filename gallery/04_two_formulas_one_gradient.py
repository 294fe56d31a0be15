# %% [markdown]
# # Two formulas, one gradient
#
# Two formulas with different values (left), DFT's -sg[p_y] log p_y and p-loss's -p_y, have one gradient (right), so
# they train the same model. Both trust the label with gamma = p_y. A loss is what it differentiates to, not what it
# prints.
#
# Misread: DFT's value rises up to p_y = 0.37 while its gradient pulls p_y up all along; a rising log is no divergence.
#
# Chapter: Targets

# %%
import matplotlib.pyplot as plt
import torch

import qtarget_inspect as qt
from qtarget_inspect.plots import CATEGORY_COLOURS, figure_style, plot_gradient

p_y = torch.linspace(0.005, 0.995, 100)
logits, labels = torch.stack([p_y, 1 - p_y], -1).log(), torch.zeros(100, dtype=torch.long)

# %%
with figure_style(size=9):
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for name, style in (("dft", "-"), ("p-loss", "--")):
        variant = qt.get(name)
        left.plot(p_y, variant(logits, labels), style, color=CATEGORY_COLOURS[variant.category], label=variant.title)
    left.set(xlabel="$p_y$, the model's probability of the label", ylabel="value of the loss")
    left.legend(frameon=False)
    plot_gradient(qt.sweep(["dft", "p-loss"]), ax=right)
    right.set_title(f"qt.equivalent: {qt.equivalent('dft', 'p-loss').relation}")
plt.show()
