# %% [markdown]
# # What does cross-entropy teach?
#
# Whatever the model thinks of a label, cross-entropy trusts it fully: gamma = 1 at every p_y. DFT trusts a label as
# far as the model believes it already, EAFT as far as the model is undecided, whichever way p_y lies.
#
# Misread: gamma is a pull per token, not a learning rate.
#
# Chapter: Targets

# %%
import matplotlib.pyplot as plt

import qtarget_inspect as qt
from qtarget_inspect.plots import figure_style
from qtarget_inspect.plots.style import colour_of

batch = qt.probe_batch(512)

# %%
with figure_style(size=9):
    figure, axes = plt.subplots(1, 3, figsize=(9, 3), sharey=True, layout="constrained")
    for ax, name in zip(axes, ("sft", "dft", "eaft"), strict=True):
        variant = qt.get(name)
        reading = qt.decompose(qt.invert(variant, batch), gauge="natural")
        ax.scatter(reading.target.p_label, reading.gamma, s=5, color=colour_of(variant.category), linewidths=0)
        ax.set_title(f"{variant.title}: {variant.formula}")
        ax.set_xlabel("p_y, the model's probability of the label")
        ax.set_xlim(-0.02, 1.02)
    axes[0].set_ylabel(f"label trust gamma ({reading.gauge} gauge)")
plt.show()
