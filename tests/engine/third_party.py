"""Losses in the styles of public code, in our own words; most are the cross entropy, or DFT, of their tokens."""

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

IGNORED = -100
TEMPERATURE = 2.0


def _label_log_p(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)


# --- how a loss computes


class _LegacyCrossEntropy(torch.autograd.Function):
    """No setup_context: torch.func refuses it."""

    @staticmethod
    def forward(ctx, logits, labels):
        ctx.save_for_backward(logits.softmax(-1), labels)
        return -_label_log_p(logits, labels)

    @staticmethod
    def backward(ctx, upstream):
        p, labels = ctx.saved_tensors
        return (p - F.one_hot(labels, p.shape[-1])) * upstream.unsqueeze(-1), None


def legacy_function(logits, labels):
    return _LegacyCrossEntropy.apply(logits, labels)


class _GradientInBuffer(torch.autograd.Function):
    """A fused kernel: the gradient of the mean overwrites the logits already in the forward pass."""

    @staticmethod
    def forward(ctx, logits, labels):
        loss = -_label_log_p(logits, labels).mean()
        gradient = (logits.softmax(-1) - F.one_hot(labels, logits.shape[-1])) / len(labels)
        logits.data.copy_(gradient)
        ctx.save_for_backward(logits.detach())
        return loss

    @staticmethod
    def backward(ctx, upstream):
        return ctx.saved_tensors[0] * upstream, None


def gradient_in_the_buffer(logits, labels):
    return _GradientInBuffer.apply(logits, labels)


def checkpointed(logits, labels):
    return checkpoint(lambda z: -_label_log_p(z, labels), logits, use_reentrant=False)


def checkpointed_reentrant(logits, labels):
    return checkpoint(lambda z: -_label_log_p(z, labels), logits, use_reentrant=True)


def saved_tensor_hooks(logits, labels):
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        return -_label_log_p(logits, labels).mean()


def numpy_weight(logits, labels):
    log_p = _label_log_p(logits, labels)
    weight = np.exp(log_p.detach().cpu().numpy())
    return -(torch.from_numpy(weight) * log_p).mean()


def data_attribute(logits, labels):
    log_p = _label_log_p(logits, labels)
    return -(log_p.exp().data * log_p).sum()


def looks_at_requires_grad(logits, labels):
    log_p = _label_log_p(logits, labels)
    return -log_p if logits.requires_grad else -0.5 * log_p


def hooks_its_logits(logits, labels):
    doubled = logits * 1
    if doubled.requires_grad:
        doubled.register_hook(lambda g: g / 2)
    return -2 * _label_log_p(doubled, labels)


def knows_torch_func(logits, labels):
    """The violator: it differs under torch.func."""
    wrapped = torch._C._functorch.is_gradtrackingtensor(logits)
    return -_label_log_p(logits, labels) * (0.5 if wrapped else 1.0)


def item_branch(logits, labels):
    loss = -_label_log_p(logits, labels).mean()
    if loss.item() > 1e6:
        return loss * 0
    return loss


def boolean_mask(logits, labels):
    keep = labels >= 0
    return F.cross_entropy(logits[keep], labels[keep])


def masked_write(logits, labels):
    log_p = _label_log_p(logits, labels)
    out = torch.zeros_like(log_p)
    likely = log_p > -1.0
    out[likely] = -log_p[likely]
    out[~likely] = -log_p[~likely]
    return out


def data_dependent_loop(logits, labels):
    total = logits.new_zeros(())
    for token in labels.unique():
        chosen = labels == token
        if chosen.any():
            total = total - _label_log_p(logits[chosen], labels[chosen]).sum()
    return total / len(labels)


# --- what a loss writes to


def writes_to_labels(logits, labels):
    keep = labels != IGNORED
    labels[~keep] = 0
    labels += 0
    return F.cross_entropy(logits, labels, reduction="none") * keep


def writes_to_loss(logits, labels):
    loss = F.cross_entropy(logits, labels, reduction="none")
    weight = (-loss).exp().detach()
    loss *= weight
    return loss.mean()


def writes_to_logits(logits, labels):
    logits.div_(TEMPERATURE)
    return F.cross_entropy(logits, labels)


def writes_to_teacher(logits, labels, teacher_logits):
    teacher_logits.sub_(teacher_logits.logsumexp(-1, keepdim=True))
    return F.kl_div(logits.log_softmax(-1), teacher_logits, log_target=True, reduction="batchmean")


# --- random numbers, masks


def drops_tokens(logits, labels):
    return -_label_log_p(logits, labels) * (torch.rand(labels.shape) < 0.5)


def drops_tokens_mean(logits, labels):
    return drops_tokens(logits, labels).mean()


def numpy_random(logits, labels):
    return -_label_log_p(logits, labels) * float(np.random.default_rng().random())


def all_masked_zero(logits, labels):
    """A library that returns a constant where every token is masked."""
    keep = torch.zeros_like(labels, dtype=torch.bool)
    return F.cross_entropy(logits[keep], labels[keep]) if keep.any() else torch.tensor(0.0)


def all_masked_nan(logits, labels):
    """One that divides 0 by 0."""
    return F.cross_entropy(logits, torch.full_like(labels, IGNORED))


def all_masked_nan_gradient(logits, labels):
    """One whose gradient is NaN as well."""
    keep = torch.zeros_like(labels, dtype=logits.dtype)
    return (-_label_log_p(logits, labels) * keep).sum() / keep.sum()


def empty_after_mask(logits, labels):
    keep = _label_log_p(logits, labels) > 0  # never
    return F.cross_entropy(logits[keep], labels[keep])


# --- HF style


def _shifted_cross_entropy(logits, labels, num_items_in_batch):
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum")
    return loss / num_items_in_batch if num_items_in_batch is not None else loss / (labels[:, 1:] != IGNORED).sum()


def hf_attribute(outputs, labels, num_items_in_batch=None):
    return _shifted_cross_entropy(outputs.logits, labels, num_items_in_batch)


def hf_get(outputs, labels, num_items_in_batch=None):
    return _shifted_cross_entropy(outputs.get("logits"), labels, num_items_in_batch)


def hf_first(outputs, labels, num_items_in_batch=None):
    return _shifted_cross_entropy(outputs[0], labels, num_items_in_batch)


def hf_key(outputs, labels, num_items_in_batch=None):
    return _shifted_cross_entropy(outputs["logits"], labels, num_items_in_batch)


def hf_mean(outputs, labels):
    return _shifted_cross_entropy(outputs.logits, labels, None)


def hf_unshifted(model_output, labels, shift_labels=False):
    """As a smoother of labels that leaves shifting to its caller."""
    logits = model_output["logits"] if isinstance(model_output, dict) else model_output[0]
    if shift_labels:
        logits, labels = logits[..., :-1, :], labels[..., 1:]
    log_p = -logits.log_softmax(-1)
    if labels.dim() == log_p.dim() - 1:
        labels = labels.unsqueeze(-1)
    padding = labels.eq(IGNORED)
    labels = torch.clamp(labels, min=0)
    nll = log_p.gather(dim=-1, index=labels)
    nll.masked_fill_(padding, 0.0)
    return nll.sum() / (padding.numel() - padding.long().sum())


def hf_rolled(outputs, labels, num_items_in_batch=None):
    """Rolled labels: the last position is trained on labels[0], unless that is ignored."""
    shifted = torch.roll(labels, -1, dims=-1)
    loss = F.cross_entropy(outputs.logits.flatten(0, -2), shifted.flatten(), reduction="none")
    keep = shifted.flatten() != IGNORED
    return (loss * keep).sum() / keep.sum()


def hf_vector(outputs, labels):
    loss = F.cross_entropy(outputs.logits[0, :-1], labels[0, 1:], reduction="none")
    return loss.view(1, -1)


def hf_distillation_mask(outputs, labels, teacher_logits):
    """Labels only say where there is a token; their values have no effect."""
    student, teacher = outputs.logits[:, :-1].log_softmax(-1), teacher_logits[:, :-1].log_softmax(-1)
    keep = labels[:, 1:] != IGNORED
    kl = (teacher.exp() * (teacher - student)).sum(-1)
    return (kl * keep).sum() / keep.sum()


def with_reference(outputs, labels, ref_logits, alpha):
    """(outputs, labels, ref_logits, alpha)."""
    logits, reference, labels = outputs.logits[:, :-1], ref_logits[:, :-1].log_softmax(-1), labels[:, 1:]
    log_p = logits.log_softmax(-1)
    label_log_p = log_p.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    kl = (reference.exp() * (reference - log_p)).sum(-1)
    keep = labels != IGNORED
    return ((-label_log_p.exp().detach() * label_log_p + alpha * kl) * keep).sum() / keep.sum()


# --- (logits, labels, vocab_size, ...) and shifts


def causal_lm_padded(logits, labels, vocab_size, num_items_in_batch=None, ignore_index=IGNORED, **kwargs):
    """Labels padded at the end, then cut at the front."""
    logits = logits.float()
    labels = F.pad(labels, (0, 1), value=ignore_index)
    labels = labels[..., 1:].contiguous().view(-1)
    reduction = "sum" if num_items_in_batch is not None else "mean"
    loss = F.cross_entropy(logits.view(-1, vocab_size), labels, ignore_index=ignore_index, reduction=reduction)
    return loss / num_items_in_batch if reduction == "sum" else loss


def shift_by_slice(logits, labels):
    return F.cross_entropy(logits[..., :-1, :].flatten(0, -2), labels[..., 1:].flatten(), ignore_index=IGNORED)


def shift_by_pad(logits, labels):
    labels = F.pad(labels, (0, 1), value=IGNORED)[..., 1:]
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED)


def shift_by_roll(logits, labels):
    labels = labels.roll(-1, -1)
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED)


def weighted_by_p_after_shift(logits, labels):
    """A shift inside, and a detached weight of the batch that every label moves: only one row turns with a label."""
    labels = F.pad(labels, (0, 1), value=IGNORED)[..., 1:].flatten()
    loss = F.cross_entropy(logits.flatten(0, -2), labels, ignore_index=IGNORED, reduction="none")
    keep = labels != IGNORED
    return (loss * keep).sum() / keep.sum()


def batched_only(logits, labels):
    batch, length, vocabulary = logits.shape
    return F.cross_entropy(logits.reshape(batch * length, vocabulary), labels.reshape(-1))


def target_first(targets, predictions):
    return F.cross_entropy(predictions, targets)


# --- other arguments, other results


def flat_input_target(input, target):
    return F.cross_entropy(input, target)


def from_log_probabilities(log_probs, targets):
    return F.nll_loss(log_probs, targets)


def returns_tuple(logits, labels):
    loss = F.cross_entropy(logits, labels)
    return loss, {"perplexity": loss.exp().item()}


def returns_dict(logits, labels):
    loss = F.cross_entropy(logits, labels)
    return {"loss": loss, "accuracy": (logits.argmax(-1) == labels).float().mean()}


@dataclasses.dataclass
class _Result:
    loss: Tensor
    tokens: int


def returns_object(logits, labels):
    return _Result(F.cross_entropy(logits, labels), len(labels))


def hidden_states(hidden, weight, labels, bias=None):
    return F.cross_entropy(F.linear(hidden, weight, bias), labels)


class HeadFirst(nn.Module):
    """(lin_weight, _input, target)."""

    def forward(self, lin_weight, _input, target, bias=None):
        return F.cross_entropy(_input @ lin_weight.T, target, reduction="sum")


class ChunkedCrossEntropy(nn.Module):
    """A list of pieces of [B, T, V] logits, labels cut alike."""

    def __init__(self, num_output_chunks=4):
        super().__init__()
        self.num_output_chunks = num_output_chunks

    def forward(self, logits, labels):
        pieces = labels.chunk(self.num_output_chunks, dim=1)
        total = (labels != IGNORED).sum()
        loss = 0.0
        for logits_piece, labels_piece in zip(logits, pieces, strict=True):
            loss = loss + F.cross_entropy(logits_piece.flatten(0, 1), labels_piece.flatten(), reduction="sum")
        return loss / total


class Module(nn.Module):
    """A loss with a buffer and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.register_buffer("power", torch.tensor(1.0, dtype=torch.float64))
        self.scale = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

    def forward(self, logits, labels):
        log_p = _label_log_p(logits, labels)
        return (-self.scale * (log_p.exp() ** self.power).detach() * log_p).mean()


class CallableInstance:
    def __init__(self, power):
        self.power = power

    def __call__(self, logits, labels):
        log_p = _label_log_p(logits, labels)
        return -(log_p.exp() ** self.power).detach() * log_p


def distilled_mean(logits, labels, teacher_logits):
    teacher = teacher_logits.log_softmax(-1)
    return (teacher.exp() * (teacher - logits.log_softmax(-1))).sum(-1).mean()


def distilled_odd_name(logits, labels, teacher_scores):
    return distilled_mean(logits, labels, teacher_scores)


def one_token(z, y):
    return -z.log_softmax(-1)[y]


def one_token_with_context(z, y, weights):
    return -weights * z.log_softmax(0)[y]


def label_free(logits):
    return logits.logsumexp(-1) ** 2


def stateful_average():
    """A loss that keeps a running state: no two calls agree."""
    state = {"calls": 0}

    def loss(logits, labels):
        state["calls"] += 1
        return -_label_log_p(logits, labels) * state["calls"]

    return loss
