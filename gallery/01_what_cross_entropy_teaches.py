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
from qtarget_inspect.plots import figure_style, plot_targets

words = ["Canberra", "Sydney", "Melbourne", "Perth"]
p = torch.tensor([[0.08, 0.62, 0.20, 0.10], [0.90, 0.06, 0.03, 0.01]], dtype=torch.float64)
reading = qt.decompose(qt.invert("sft", qt.TokenBatch(p.log(), torch.tensor([0, 0]))))
tables = [qt.target_table(reading, token, texts=lambda ids: [words[i] for i in ids]) for token in (0, 1)]

# %%
with figure_style(size=9):
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    plot_targets(tables, axes=axes)
    for ax, model in zip(axes, ("a model that errs", "a model that knows"), strict=True):
        ax.set_title(f"SFT, {model}: gamma = {reading.gamma[0]:g}")
plt.show()
