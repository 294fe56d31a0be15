# %% [markdown]
# # Rescue and filter tokens in a real solution
#
# Target-SFT rescues a label that the teacher trusts far more than the model does ("####"), where DFT, which sees p_y =
# 0.37 alone, holds back. In the second token ("He") nobody believes: cross-entropy puts all mass there, DFT leaves it,
# and Target-SFT turns to what the teacher would write.
#
# Misread: SmolLM2-135M from a dequantised Q4_1 file; its teacher is the same model with one worked example in context.
#
# Chapter: A real model

# %%
import matplotlib.pyplot as plt

import qtarget_inspect as qt
from qtarget_inspect import models
from qtarget_inspect.plots import figure_style, plot_targets

solution = models.worked_solution()
readings = [qt.decompose(qt.invert(loss, solution.batch), gauge="natural") for loss in ("sft", "dft", "target-sft")]
tables = [qt.target_table(readings, token, texts=solution.lm.tokenizer, top_tokens=5) for token in (32, 0)]

# %%
with figure_style(size=9):
    figure, axes = plt.subplots(2, 3, figsize=(8, 4.2), layout="constrained")
    plot_targets(tables, axes=axes)
plt.show()
