"""Goals: what is to be reached, as data: a contender, what it is held against, and a limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qtarget_inspect.benchmark.contenders.closed_forms import BOTH_WAYS, closed_form_name, paper_rows
from qtarget_inspect.benchmark.contenders.contender import COPY, FLOOR
from qtarget_inspect.benchmark.contenders.generic import generic_name
from qtarget_inspect.benchmark.contenders.identify_cases import CASES, USERS_BATCH, identify_name
from qtarget_inspect.benchmark.contenders.plain import naive_name
from qtarget_inspect.benchmark.contenders.readings import CHECK, FITTED, SOFTMAXED, fit_name
from qtarget_inspect.benchmark.contenders.scalars import PAPER, PAPER_COMPILED, TOP, measure_name
from qtarget_inspect.benchmark.contenders.streamed import STREAMED, STREAMED_LONG
from qtarget_inspect.benchmark.contenders.top_k import OUR_TOP_K, TORCH_TOP_K
from qtarget_inspect.benchmark.own_process import FIRST, SECOND
from qtarget_inspect.benchmark.plain_losses import PLAIN_LOSSES
from qtarget_inspect.benchmark.results import Kind

Quantity = Literal["ratio", "seconds", "torch memory", "system memory", "GiB", "bandwidth"]
"""ratio: of times, at most the limit. seconds: at most. torch memory, system memory: peak over inputs and result by
either account, in the engine's budgets for a chunk, at most. GiB: the same by torch, in GiB. bandwidth: of the logits
read once and Q written once, as a share of that of a copy, at least the limit."""

MEASURED = 3
"""Tensors of logits that a stream makes at a time: the model's, a reference's, a teacher's."""

MEMORY: tuple[Quantity, ...] = ("torch memory", "system memory")

COMPILED_AGAIN = 0.25
"""Share of the first call, which compiles, below which a second call has not compiled again."""

SOFTMAX = 1.3
"""Floors that a closed form may take a softmax: of p, and of each further distribution."""

FURTHER = {"iw-sft": 1, "sft-kl": 1, "asft": 1, "psft": 1, "gem": 1, "kd": 1, "kd-hybrid": 1, "target-sft": 1}
"""Variants that need a further softmax: a reference, an old policy, a teacher, a power or a path of p."""

NAIVE = "of the naive line"

NOTHING = 0.25
"""Floors that count as nothing more."""


@dataclass(frozen=True)
class Goal:
    """One line that is to be reached.

    Args:
        text: what it is about.
        quantity: what is held against the limit.
        contender: whose times or memory.
        limit: the limit, in the quantity's unit.
        unit: the unit in words.
        reference: the contender that a ratio is taken to.
        less: a contender whose time is taken off first, because it is counted apart.
        kind: the section that it is looked up in.
        device: where it is to be reached.
    """

    text: str
    quantity: Quantity
    contender: str
    limit: float
    unit: str = "floors"
    reference: str = FLOOR
    less: str | None = None
    kind: Kind = "shape"
    device: Literal["cpu", "cuda"] = "cpu"


def goals() -> tuple[Goal, ...]:
    """All goals, in the order of a table.

    Returns:
        The goals.

    Examples:
        >>> goals()[0]
        Goal(text='any loss, eager, fresh result: dft', quantity='ratio', contender='invert, dft, fresh', limit=0.45,
        unit='of the naive line', reference='naive line, dft', less=None, kind='shape', device='cpu')
    """
    return (*_generic(), *_closed_forms(), *_scalars(), *_memory(), *_readings(), *_identify(), *_gpu())


def _generic() -> list[Goal]:
    found = []
    for loss in (loss.name for loss in PLAIN_LOSSES):
        naive = naive_name(loss)
        eager, compiled, reused = (
            generic_name(loss, compiled=compiled, fresh=fresh)
            for compiled, fresh in ((False, True), (True, True), (True, False))
        )
        found += [
            Goal(f"any loss, eager, fresh result: {loss}", "ratio", eager, 0.45, NAIVE, naive),
            Goal(f"any loss, compiled, fresh result: {loss}", "ratio", compiled, 0.25, NAIVE, naive),
            Goal(f"any loss, compiled, out=: {loss}", "ratio", reused, 0.25, NAIVE, naive),
            Goal(f"any loss, compiled, out=: {loss}", "ratio", reused, 2.5),
        ]
    again = Goal(
        "compiled code is kept: second call",
        "ratio",
        SECOND,
        COMPILED_AGAIN,
        "of the first call",
        FIRST,
        kind="compile time",
    )
    return [*found, again]


def _closed_forms() -> list[Goal]:
    found = []
    for name in paper_rows():
        limit = SOFTMAX * (1 + FURTHER.get(name, 0))
        apart = OUR_TOP_K if name == "eaft" else None
        text = f"closed form: {name}{', its top 20 apart' if apart else ''}"
        found.append(Goal(text, "ratio", closed_form_name(name), round(limit, 2), less=apart))
    top = Goal("top 20: ours beside torch's", "ratio", OUR_TOP_K, 1.0, "of torch.topk", TORCH_TOP_K)
    return [*found, top]


def _scalars() -> list[Goal]:
    gem, both, one = (measure_name(*names, top=True) for names in (("gem",), ("dft", "p-loss"), ("dft",)))
    return [
        Goal("scalars of sixteen rows, the top 20 apart", "ratio", PAPER, 8.0, less=OUR_TOP_K),
        Goal("scalars of sixteen rows, compiled, the top 20 apart", "ratio", PAPER_COMPILED, 8.0, less=OUR_TOP_K),
        Goal(f"{TOP} that gain and lose most, a loss more: gem", "ratio", gem, 3.0, less=measure_name("gem")),
        Goal(f"{TOP} that gain and lose most, p's own order", "ratio", both, NOTHING, less=one),
    ]


def _memory() -> list[Goal]:
    names = [
        generic_name("dft", compiled=False, fresh=True),
        generic_name("dft", compiled=False, fresh=False),
        generic_name("dft", compiled=True, fresh=False),
        *(closed_form_name(name) for name in BOTH_WAYS),
        PAPER,
    ]
    found = [
        Goal(f"peak memory by {quantity.split()[0]}: {name}", quantity, name, 2.0, "chunks")
        for name in names
        for quantity in MEMORY
    ]
    return [*found, Goal(f"peak memory by torch: {STREAMED}", "torch memory", STREAMED, 2.0 * MEASURED, "chunks")]


def _readings() -> list[Goal]:
    fits = [Goal(f"attractor fit: explained by {name}", "ratio", fit_name(name), 4.0 * SOFTMAXED) for name in FITTED]
    return [*fits, Goal("checking inputs", "ratio", CHECK, 0.25)]


def _identify() -> list[Goal]:
    return [
        Goal(f"identify: {case}", "seconds", identify_name(case), 2.0, "s", kind="identify")
        for case in (*CASES, USERS_BATCH)
    ]


def _gpu() -> list[Goal]:
    generic = generic_name("dft", compiled=False, fresh=False)
    compiled = generic_name("dft", compiled=True, fresh=False)
    unit = "of the copy bandwidth"
    return [
        Goal("GPU, any loss, eager", "bandwidth", generic, 0.6, unit, COPY, device="cuda"),
        Goal("GPU, any loss, compiled", "bandwidth", compiled, 0.6, unit, COPY, device="cuda"),
        Goal("GPU, streamed over the model", "GiB", STREAMED_LONG, 8.0, "GiB", device="cuda"),
        Goal("GPU, closed form: dft", "bandwidth", closed_form_name("dft"), 0.85, unit, COPY, device="cuda"),
    ]
