"""Collection: all contenders of a setting, in the order in which a round calls them."""

from __future__ import annotations

from collections.abc import Collection
from typing import get_args

from qtarget_inspect.benchmark.contenders.closed_forms import BOTH_WAYS, closed_form_contenders, paper_rows
from qtarget_inspect.benchmark.contenders.contender import Contender, Group
from qtarget_inspect.benchmark.contenders.floors import floors
from qtarget_inspect.benchmark.contenders.generic import generic_contenders
from qtarget_inspect.benchmark.contenders.plain import plain_contenders
from qtarget_inspect.benchmark.contenders.readings import reading_contenders
from qtarget_inspect.benchmark.contenders.scalars import scalar_contenders
from qtarget_inspect.benchmark.contenders.streamed import streamed_contenders
from qtarget_inspect.benchmark.contenders.top_k import top_k_contenders
from qtarget_inspect.benchmark.plain_losses import PLAIN_LOSSES
from qtarget_inspect.benchmark.setting import Setting

GROUPS: tuple[str, ...] = get_args(Group)

NEEDED = {"generic": {"plain"}, "compiled": {"plain"}, "closed-form": {"top-k"}, "scalars": {"top-k"}}
"""Group -> groups that its goals are held against."""


def contenders(setting: Setting, groups: Collection[str] = GROUPS, *, whole: bool = True) -> tuple[Contender, ...]:
    """The contenders of a setting.

    Args:
        setting: on what they run.
        groups: which groups; the floor is always there.
        whole: all of them; otherwise one plain loss, the variants of `BOTH_WAYS`, one fit, and fewer scalars.

    Returns:
        The contenders, the floor first.
    """
    half = setting.dtype != "float32"
    losses = PLAIN_LOSSES if whole else PLAIN_LOSSES[:1]
    found = [
        *floors(half),
        *plain_contenders(losses, half),
        *generic_contenders(losses, compiled=False),
        *generic_contenders(losses, compiled=True),
        *closed_form_contenders(paper_rows() if whole else BOTH_WAYS),
        *top_k_contenders(),
        *scalar_contenders(whole=whole),
        *streamed_contenders(setting),
        *reading_contenders(whole=whole),
    ]
    wanted = {"floor", *groups}
    return tuple(contender for contender in found if contender.group in wanted)
