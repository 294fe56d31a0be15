# %% [markdown]
# # One page for your own loss
#
# What `qt.inspect(loss).plot()` draws of any loss, here of one that trusts labels by the square root of p_y and mixes
# in a little of the uniform: label trust, the gradient on the label and on another token, one target beside the model,
# and the flow on three tokens. The two pulls turn the model back where it is surer of a label than 0.83.
#
# Misread: the panels are different tokens; the point where the triangle rests is none of the bars.
#
# Chapter: Your own loss

# %%
import qtarget_inspect as qt


def hedged(logits, labels):
    log_p = logits.log_softmax(-1)
    label = log_p.gather(-1, labels[:, None]).squeeze(-1)
    return -label.exp().detach().sqrt() * label - 0.2 * log_p.mean(-1)


# %%
figure = qt.inspect(hedged).plot()
figure
