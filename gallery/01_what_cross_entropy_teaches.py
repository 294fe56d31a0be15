# %% [markdown]
# # What does cross-entropy teach?
#
# The target Q = p - g that cross-entropy (SFT) sets for "The capital of Australia is Canberra", for a model that
# believes in Sydney and for one that knows better. Q is the same bar both times, the label and nothing else: gamma =
# 1. Numbers at the bars say what each token gains or loses on the way there.
#
# Misread: Q is where the loss pulls, not where one step ends; a step goes along Q - p, far on the left, hardly on the
# right.
#
# Chapter: Targets

# %%
import matplotlib.pyplot as plt
import torch

import qtarget_inspect as qt
from qtarget_inspect.plots import figure_style, plot_target

words = ["Canberra", "Sydney", "Melbourne", "Perth"]
models = {"a model that errs": [0.08, 0.62, 0.20, 0.10], "a model that knows": [0.90, 0.06, 0.03, 0.01]}

# %%
with figure_style(size=9):
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for ax, (name, p) in zip(axes, models.items(), strict=True):
        batch = qt.TokenBatch(torch.tensor([p], dtype=torch.float64).log(), torch.tensor([0]))
        reading = qt.decompose(qt.invert("sft", batch))
        plot_target(qt.target_table(reading, texts=lambda ids: [words[i] for i in ids]), ax=ax)
        ax.label_outer()
        ax.set_title(f"SFT, {name}: gamma = {reading.gamma.item():g}")
plt.show()
