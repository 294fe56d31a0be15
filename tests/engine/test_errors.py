"""Bad input, each with a message of its own that names the argument, the shapes and the remedy."""

import math

import pytest
import torch
import torch.nn.functional as F

import qtarget_inspect as qt

LOGITS = torch.zeros(4, 6)
LABELS = torch.tensor([0, 1, 2, 5])


def nll(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


def with_entry(value, row=2):
    logits = LOGITS.clone()
    logits[row, 1] = value
    return logits


BATCHES = {
    "labels too large": (
        lambda: qt.TokenBatch(LOGITS, LABELS + 1),
        r"labels must lie in \[0, 6\).*token 3.*first is "
        "6.*tokenizer",
    ),
    "masked labels": (
        lambda: qt.TokenBatch(LOGITS, torch.tensor([0, -100, 1, -100])),
        r"labels must lie in \[0, 6\).*tokens 1, 3.*-100.*from_causal_lm drops",
    ),
    "float labels": (
        lambda: qt.TokenBatch(LOGITS, LABELS.float()),
        r"labels must be "
        r"integers.*float32.*labels.long\(\).*teacher_logits",
    ),
    "bool labels": (lambda: qt.TokenBatch(LOGITS, LABELS > 0), r"labels must be integers.*bool"),
    "labels of another length": (
        lambda: qt.TokenBatch(LOGITS, LABELS[:3]),
        r"labels must have shape \[4\].*\[4, "
        r"6\].*\[3\]",
    ),
    "labels no tensor": (lambda: qt.TokenBatch(LOGITS, [0, 1, 2, 5]), r"labels must be a torch.Tensor.*not list"),
    "NaN logits": (lambda: qt.TokenBatch(with_entry(math.nan), LABELS), r"logits holds NaN at token 2"),
    "infinite logits": (lambda: qt.TokenBatch(with_entry(math.inf), LABELS), r"logits holds \+inf at token 2.*Clip"),
    "impossible row": (
        lambda: qt.TokenBatch(LOGITS.clone().index_fill(0, torch.tensor([1]), -math.inf), LABELS),
        r"-inf throughout at token 1",
    ),
    "integer logits": (
        lambda: qt.TokenBatch(LOGITS.long(), LABELS),
        r"logits must be floating "
        r"point.*int64.*logits.float\(\)",
    ),
    "three axes": (lambda: qt.TokenBatch(LOGITS[None], LABELS), r"shape \[N, V\].*\[1, 4, 6\].*from_causal_lm"),
    "one axis": (lambda: qt.TokenBatch(LOGITS[0], LABELS[0]), r"shape \[N, V\].*\[6\].*logits\[None\]"),
    "no tokens": (lambda: qt.TokenBatch(LOGITS[:0], LABELS[:0]), r"shape \[0, 6\].*empty batch"),
    "logits no tensor": (lambda: qt.TokenBatch(LOGITS.tolist(), LABELS), r"logits must be a torch.Tensor"),
    "meta device": (lambda: qt.TokenBatch(LOGITS.to("meta"), LABELS.to("meta")), r"meta device"),
    "teacher's vocabulary": (
        lambda: qt.TokenBatch(LOGITS, LABELS, teacher_logits=torch.zeros(4, 8)),
        r"vocabulary mismatch: teacher_logits has V = 8, logits have V = 6.*teacher_logits\[:, :6\].*tokenizer",
    ),
    "student's vocabulary": (
        lambda: qt.TokenBatch(torch.zeros(4, 8), LABELS, reference_logits=LOGITS),
        r"vocabulary mismatch: reference_logits has V = 6, logits have V = 8",
    ),
    "teacher's rows": (
        lambda: qt.TokenBatch(LOGITS, LABELS, teacher_logits=LOGITS[:3]),
        r"teacher_logits has 3 rows, logits have 4",
    ),
    "teacher's NaN": (
        lambda: qt.TokenBatch(LOGITS, LABELS, teacher_logits=with_entry(math.nan)),
        r"teacher_logits holds NaN at token 2",
    ),
    "weights' shape": (
        lambda: qt.TokenBatch(LOGITS, LABELS, weights=torch.ones(4, 6)),
        r"weights must have shape \[4\].*\[4, 6\]",
    ),
    "weights' values": (
        lambda: qt.TokenBatch(LOGITS, LABELS, weights=torch.tensor([1.0, math.nan, 1.0, 1.0])),
        r"weights is not finite at token 1",
    ),
    "critical's values": (
        lambda: qt.TokenBatch(LOGITS, LABELS, critical=torch.rand(4)),
        r"critical must be a "
        "mask.*weights",
    ),
    "sequence_ids' type": (
        lambda: qt.TokenBatch(LOGITS, LABELS, sequence_ids=torch.rand(4)),
        r"sequence_ids must be "
        "integers",
    ),
    "texts": (lambda: qt.TokenBatch(LOGITS, LABELS, tokens=["a", "b"]), r"tokens must be 4 texts.*2"),
    "a text for texts": (lambda: qt.TokenBatch(LOGITS, LABELS, tokens="abcd"), r"tokens must be 4 texts"),
    "all masked": (
        lambda: qt.TokenBatch.from_causal_lm(LOGITS[None], torch.full((1, 4), -100)),
        r"all 4 labels are masked \(ignore_index = -100.*no token",
    ),
    "only the first is labelled": (
        lambda: qt.TokenBatch.from_causal_lm(LOGITS[None], torch.tensor([[1, -100, -100, -100]])),
        r"masked.*first position is never predicted",
    ),
    "causal logits": (
        lambda: qt.TokenBatch.from_causal_lm(LOGITS, LABELS),
        r"logits must have shape \[B, T, "
        r"V\].*\[4, 6\]",
    ),
    "causal labels": (
        lambda: qt.TokenBatch.from_causal_lm(LOGITS[None], LABELS[None, :3]),
        r"labels must have shape \[1, 4\].*\[1, 3\]",
    ),
    "causal context": (
        lambda: qt.TokenBatch.from_causal_lm(LOGITS[None], LABELS[None], advantages=torch.zeros(3)),
        r"advantages must have shape \[1, 4\].*\[1\].*\[3\]",
    ),
    "causal teacher": (
        lambda: qt.TokenBatch.from_causal_lm(LOGITS[None], LABELS[None], teacher_logits=LOGITS),
        r"teacher_logits must have shape \[1, 4, V\].*\[4, 6\]",
    ),
    "unknown context": (
        lambda: qt.TokenBatch.from_causal_lm(LOGITS[None], LABELS[None], teacher=LOGITS),
        r"unknown context teacher; known are reference_logits",
    ),
}


@pytest.mark.parametrize("case", BATCHES)
def test_a_batch_that_cannot_be(case):
    make, message = BATCHES[case]
    with pytest.raises(qt.BatchError, match=message):
        make()


@pytest.fixture
def batch():
    return qt.TokenBatch(torch.randn(40, 6), torch.randint(6, (40,)))


def nan_where(bad, reduce):
    def loss(logits, labels):
        value = nll(logits, labels)
        return reduce(torch.where(bad(logits), value * math.nan, value))

    return loss


@pytest.mark.parametrize("chunk_size", [None, 7])
@pytest.mark.parametrize("reduce", [lambda v: v, torch.sum, torch.mean])
def test_a_loss_that_is_nan_says_for_which_tokens(reduce, chunk_size):
    logits = torch.randn(40, 6)
    logits[[3, 17, 29], 0] = 100.0
    batch = qt.TokenBatch(logits, torch.randint(6, (40,)))
    loss = nan_where(lambda z: z[:, 0] > 50, reduce)
    with pytest.raises(qt.LossError, match=r"returned NaN for (tokens 3, 17, 29|token 3) of the batch.*log_softmax"):
        qt.invert(loss, batch, chunk_size=chunk_size)


def test_a_gradient_that_is_nan_says_for_which_tokens():
    logits = torch.zeros(40, 6)
    logits[11] = torch.tensor([0.0, 0, 0, 0, 0, 200])  # p underflows: 0 * log 0 in the gradient
    batch = qt.TokenBatch(logits, torch.zeros(40, dtype=torch.long))

    def entropy(z, y):
        p = z.softmax(-1)
        return (p * torch.where(p > 0, p.log(), 0.0)).sum(-1)

    with pytest.raises(qt.LossError, match=r"gradient that is not finite for token 11 of"):
        qt.invert(entropy, batch)


@pytest.mark.parametrize(
    "loss",
    [
        lambda z, y: nll(z.detach(), y),
        lambda z, y: (z.argmax(-1) != y).float().mean(),
        lambda z, y: torch.zeros(len(y), requires_grad=True) * 1.0,
        lambda z, y: nll(z, y) * 0,
        lambda z, y: torch.ones(()),
    ],
    ids=["detached", "accuracy", "rebuilt", "times zero", "a number"],
)
def test_a_loss_that_is_constant_in_the_logits(loss, batch):
    with pytest.raises(qt.LossError, match=r"is constant in the logits.*detach\(\)"):
        qt.invert(loss, batch)


@pytest.mark.parametrize(
    ("loss", "shape"), [(lambda z, y: z.log_softmax(-1), r"\[6, V\]|\[5, V\]"), (lambda z, y: nll(z, y)[:-1], r"\[5\]")]
)
def test_a_loss_of_the_wrong_shape(loss, shape, batch):
    with pytest.raises(
        qt.LossError, match=r"returned shape .* One value|returned shape .* returns one value a token.*qt.adapt"
    ):
        qt.invert(loss, batch)


def test_a_loss_that_raises_is_quoted(batch):
    def broken(logits, labels):
        raise RuntimeError("the fuse has blown")

    with pytest.raises(
        qt.LossError, match=r"broken raised RuntimeError on logits \[5, 6\] and labels \[5\].*the fuse has blown"
    ) as caught:
        qt.invert(broken, batch)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_loss_that_raises_later_is_quoted(batch):
    def picky(logits, labels):
        assert len(labels) < 30, "too many"
        return nll(logits, labels)

    with pytest.raises(qt.LossError, match=r"picky raised AssertionError on logits \[40, 6\].*too many"):
        qt.invert(picky, batch)


@pytest.mark.parametrize("method", ["auto", "torch.func"])
@pytest.mark.parametrize(
    ("name", "missing"),
    [("asft", "reference_logits"), ("kd", "teacher_logits"), ("psft", "old_logits"), ("cft", "critical")],
)
def test_missing_context_is_named(name, missing, method, batch):
    with pytest.raises(
        qt.MissingContextError, match=rf"{name}.* needs {missing} \[N.*\nPass TokenBatch\(..., {missing}=...\)"
    ):
        qt.invert(name, batch, method=method)


def test_missing_context_of_a_callable(batch):
    def mine(logits, labels, teacher_logits):
        return nll(logits, labels)

    with pytest.raises(qt.MissingContextError, match=r"mine needs teacher_logits.*\n.*--teacher MODEL"):
        qt.invert(mine, batch)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "vamp"}, qt.LossError, "method must be one of auto, closed-form"),
        ({"method": "closed-form"}, qt.LossError, "nll has no declared pulls.*method='auto'"),
        ({"dtype": torch.float16}, qt.BatchError, "dtype must be torch.float32 or torch.float64"),
        ({"chunk_size": 0}, qt.BatchError, "chunk_size must be a positive number of rows, not 0"),
        ({"chunk_size": 1.5}, qt.BatchError, "chunk_size must be a positive number"),
        ({"reduction": "avg"}, qt.ReductionError, "reduction must be 'auto'"),
        ({"out": torch.empty(40, 5)}, qt.BatchError, r"out must be a contiguous tensor of shape \[40, 6\].*\[40, 5\]"),
        ({"out": torch.empty(40, 6, dtype=torch.float64)}, qt.BatchError, "out must be .*float32.*float64"),
        ({"out": torch.empty(6, 40).T}, qt.BatchError, "out must be a contiguous"),
        ({"out": torch.empty(40, 6, requires_grad=True)}, qt.BatchError, "out requires a gradient"),
        ({"out": [0.0]}, qt.BatchError, "out must be a torch.Tensor"),
    ],
)
def test_arguments_that_do_not_fit(arguments, error, message, batch):
    with pytest.raises(error, match=message):
        qt.invert(nll, batch, **arguments)


def test_out_that_is_the_input(batch):
    with pytest.raises(qt.BatchError, match="out shares memory with the batch's logits"):
        qt.invert(nll, batch, out=batch.logits)


def test_a_batch_that_is_none(batch):
    with pytest.raises(qt.BatchError, match=r"batch must be a TokenBatch, not Tensor: qt.TokenBatch\(logits, labels\)"):
        qt.invert(nll, batch.logits)


@pytest.mark.parametrize("loss", ["dtf", 3, "nowhere.py:loss"])
def test_a_loss_that_is_none(loss, batch):
    with pytest.raises(qt.RegistryError):
        qt.invert(loss, batch)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": "logit"}, "inputs must be one of logits, hf"),
        ({"shift": "left"}, "shift must be one of auto, none, slice"),
        ({"layout": "wide"}, "layout must be one of auto, flat"),
        ({"context": {"ref": "reference"}}, "unknown context reference; known are reference_logits"),
    ],
)
def test_adapt_names_its_options(arguments, message):
    with pytest.raises(qt.LossError, match=message):
        qt.adapt(nll, **arguments)


# --- checking is cheap


class _Operations(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts the entries that each operation reads."""

    def __init__(self):
        super().__init__()
        self.read = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        size = max((a.numel() for a in args if isinstance(a, torch.Tensor)), default=0)
        name = function.overloadpacket.__name__
        self.read[name] = self.read.get(name, 0) + size
        return function(*args, **(kwargs or {}))


def test_checking_a_good_batch_is_one_sum():
    logits, labels = torch.randn(64, 500), torch.randint(500, (64,))
    with _Operations() as operations:
        qt.TokenBatch(logits, labels, teacher_logits=logits.clone())
    wide = {name: read for name, read in operations.read.items() if read >= logits.numel()}
    assert set(wide) <= {"sum", "detach", "clone", "alias"}
    assert wide["sum"] == 2 * logits.numel()


@pytest.mark.parametrize("loss", ["dft", nll])
def test_checking_a_good_inversion_reads_no_logits_for_nan(loss):
    batch = qt.TokenBatch(torch.randn(512, 500), torch.randint(500, (512,)))
    with _Operations() as operations:
        qt.invert(loss, batch, chunk_size=128)
    looking = sum(operations.read.get(name, 0) for name in ("isfinite", "isnan", "isinf", "ne", "eq", "any", "all"))
    assert looking < 0.2 * batch.logits.numel()
    sums = operations.read.get("sum", 0)
    assert sums < 4.5 * batch.logits.numel()  # row sums for the mass; a loss's own backward pass has some too
