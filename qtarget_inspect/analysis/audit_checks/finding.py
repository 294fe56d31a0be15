"""Finding: what one check of an audit saw, in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["ok", "note", "warning"]


@dataclass(frozen=True)
class Finding:
    """What one check saw.

    Args:
        name: the check.
        level: "ok"; "note", something to know; "warning", something that is likely to be wrong or to break.
        text: the finding in plain words, with its numbers.
        values: the numbers, name -> value; {"checked": False} where the check could not be run.
    """

    name: str
    level: Level
    text: str
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def checked(self) -> bool:
        """Whether the check could be run."""
        return bool(self.values.get("checked", True))


def not_checked(name: str, reason: str) -> Finding:
    """The finding of a check that could not be run.

    Args:
        name: the check.
        reason: why.

    Returns:
        A note.
    """
    return Finding(name, "note", f"not checked: {reason}", {"checked": False})
