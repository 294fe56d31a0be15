# %% [markdown]
# # Trust by entropy: EAFT
#
# EAFT trusts a label as far as the model is undecided: gamma = H / ln 20 over its 20 likeliest tokens. Its contours
# are level, until at the right more than 20 tokens share what is left: at the same entropy, a label that the model
# thinks impossible is trusted as much as its favourite. DFT looks at p_y alone. Hatched: no distribution over 32
# tokens has this entropy at this p_y.
#
# Misread: the map says how far a loss trusts, not how many tokens of a text lie where.
#
# Chapter: Targets

# %%
import matplotlib.pyplot as plt

import qtarget_inspect as qt
from qtarget_inspect.plots import figure_style, plot_trust_map

# %%
with figure_style(size=9):
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained", sharey=True)
    for ax, loss in zip(axes, ("eaft", "dft"), strict=True):
        plot_trust_map(qt.sweep(loss, over=("p_y", "entropy")), colour_bar=ax is axes[-1], ax=ax)
        ax.label_outer()
plt.show()
