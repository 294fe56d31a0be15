# %% [markdown]
# # PPO's clip, with a good and a bad advantage
#
# With advantage +1, PPO's gamma is the ratio r = p_y / old_y until the clip at r = 1.2 takes the gradient away; with
# advantage -1 it is -r, down to the clip at r = 0.8. The old policy sampled this token with probability 0.4. With -1
# gamma is most negative where the model is surest of the label; the push on its logit, r (1 - p_y), is strongest at p_y
# = 1/2.
#
# Misread: gamma = 0 in the clipped part is no balance of pulls: there is no gradient at all, and Q = p.
#
# Chapter: Not a distribution

# %%
import matplotlib.pyplot as plt
import torch

import qtarget_inspect as qt
from qtarget_inspect.plots import figure_style, plot_gamma


def ppo(advantage):
    def loss(logits, labels, old_logits):
        return qt.losses.ppo(logits, labels, old_logits, torch.full_like(logits[:, 0], advantage))

    loss.__name__ = f"A = {advantage:+d}"
    return loss


# %%
with figure_style(size=9):
    figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
    plot_gamma(qt.sweep([ppo(+1), ppo(-1)], old_p_y=0.4), ax=ax)
plt.show()
