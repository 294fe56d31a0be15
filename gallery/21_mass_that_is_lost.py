# %% [markdown]
# # Mass that is lost: z-loss
#
# z-loss adds c (log Z)^2, whose gradient 2 c p log Z does not sum to 0, so that Q does not sum to 1; Z is the
# normaliser of the softmax. Shift all logits of one token: no probability changes, nor cross-entropy's target, but
# z-loss takes mass 2 c log Z away or adds it (here c = 0.05, five hundred times the usual).
#
# Misread: no token gets what is lost: where log Z > 0, every Q is lowered in proportion to p, below 0 on all but the
# label.
#
# Chapter: Traps

# %%
import matplotlib.pyplot as plt
import torch

import qtarget_inspect as qt
from qtarget_inspect.plots import CATEGORY_COLOURS, figure_style

shift = torch.linspace(-8, 8, 65, dtype=torch.float64)
p = torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64)
batch = qt.TokenBatch(p.log() + shift[:, None], torch.zeros(65, dtype=torch.long))

# %%
with figure_style(size=9):
    figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
    for loss in ("sft", "z-loss(z_weight=0.05)"):
        variant = qt.get(loss)
        ax.plot(shift, qt.invert(loss, batch).mass, color=CATEGORY_COLOURS[variant.category], label=variant.title)
    ax.set(xlabel="log Z, which no probability depends on", ylabel="mass of Q (its sum)")
    ax.legend(frameon=False)
plt.show()
