# %% [markdown]
# # Where does the other mass go?
#
# Four losses send what they do not give to the label to four places: label smoothing to all words alike, SFT + KL to
# the reference model, distillation to the teacher (all of it), and Target-SFT to a mixture of the model and the
# teacher. The upright tick is the residual: Q = gamma onehot(y) + (1 - gamma) residual.
#
# Misread: gammas of the four are not in one gauge; SFT + KL has its gamma in the normalized one.
#
# Chapter: Residuals

# %%
import matplotlib.pyplot as plt
import torch

import qtarget_inspect as qt
from qtarget_inspect.plots import figure_style, plot_targets

words = ["Canberra", "Sydney", "Melbourne", "Perth"]
model, teacher, reference = torch.tensor(
    [[0.25, 0.50, 0.15, 0.10], [0.60, 0.20, 0.05, 0.15], [0.10, 0.30, 0.50, 0.10]], dtype=torch.float64
).log()
batch = qt.TokenBatch(model[None], torch.tensor([0]), teacher_logits=teacher[None], reference_logits=reference[None])
losses = ["label-smoothing", "sft-kl(kl_weight=0.5)", "kd", "target-sft"]
readings = [qt.decompose(qt.invert(loss, batch), gauge="natural") for loss in losses]
table = qt.target_table(readings, texts=lambda ids: [words[i] for i in ids])

# %%
with figure_style(size=9):
    figure, axes = plt.subplots(1, 4, figsize=(8, 3), layout="constrained")
    plot_targets(table, axes=axes)
plt.show()
