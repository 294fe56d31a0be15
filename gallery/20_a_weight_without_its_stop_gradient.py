# %% [markdown]
# # A weight without its stop-gradient
#
# Leave out DFT's stop-gradient, one `.detach()`, and its weight is trained as well: gamma is no longer p_y but p_y (1
# + log p_y). Below p_y = 1/e = 0.37 that is negative, so the loss pushes the model away from labels it doubts: gamma is
# lowest at p_y = 0.14, and the push on the logit, |gamma| (1 - p_y), hardest at 0.12.
#
# Misread: both losses print the same numbers in a training log; values do not show the difference.
#
# Chapter: Traps

# %%
import matplotlib.pyplot as plt

import qtarget_inspect as qt
from qtarget_inspect.plots import figure_style, plot_gamma


def undetached(logits, labels):
    log_p = logits.log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)
    return -log_p.exp() * log_p


# %%
with figure_style(size=9):
    figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
    plot_gamma(qt.sweep(["dft", undetached]), ax=ax)
plt.show()
