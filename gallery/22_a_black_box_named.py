# %% [markdown]
# # A black box, named
#
# `qt.identify` calls a loss that somebody wrote down on states made for the purpose, and answers in the table's words:
# which attractors pull, and with what law. Points: gamma as measured on probe states. Line: the law that was found,
# predicted without calling the loss.
#
# Misread: a law is held against states it was not fitted to, but a branch that no state reaches stays unseen.
#
# Chapter: Your own loss

# %%
import matplotlib.pyplot as plt

import qtarget_inspect as qt
from qtarget_inspect.plots import CATEGORY_COLOURS, figure_style


def black_box(logits, labels):
    p_y = logits.softmax(-1).gather(-1, labels[:, None]).squeeze(-1)
    return 2 - 2 * p_y.sqrt()


found = qt.identify(black_box)
batch = qt.probe_batch(256)
reading, order = qt.decompose(qt.invert(black_box, batch)), qt.invert("sft", batch).p_label.argsort()

# %%
with figure_style(size=9):
    figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
    p_y = reading.target.p_label
    ax.scatter(p_y, reading.gamma, s=12, facecolor="none", edgecolor="black", linewidths=0.6)
    ax.plot(p_y[order], found.predict_gamma(batch)[order], color=CATEGORY_COLOURS["label trust"])
    ax.set_title(f"gamma = {found.gamma_law}, residual = {found.residual}; nearest: {found.nearest[0].name}")
    ax.set(xlabel="$p_y$, the model's probability of the label", ylabel=f"label trust $\\gamma$ ({found.gauge} gauge)")
plt.show()
