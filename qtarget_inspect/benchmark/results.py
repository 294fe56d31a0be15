"""Results: what a benchmark found, as frozen data that goes to JSON and back."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from qtarget_inspect.benchmark.machine import Machine
from qtarget_inspect.benchmark.setting import Setting
from qtarget_inspect.core.errors import QTargetError

Kind = Literal["shape", "kept memory", "compile time", "identify"]
"""What a section times: everything on one shape; the same with memory that the allocator keeps; first calls with
compile=True; `identify`."""

FORMAT = 1


@dataclass(frozen=True)
class Timing:
    """Times of one contender in one section.

    Args:
        name: the contender.
        group: its group, as `--only` names it.
        seconds: seconds for all tokens of the setting, one a round.
        first: seconds of the very first call, with whatever is set up or compiled in it.
        about: what else is to be known about it: that it ran on a few tokens and was scaled.
    """

    name: str
    group: str
    seconds: tuple[float, ...]
    first: float
    about: str = ""


@dataclass(frozen=True)
class Peak:
    """Peak memory of one contender over its inputs and its result [N, V].

    Args:
        name: the contender.
        torch: bytes by torch's own accounting, None where not measured.
        system: bytes by the system's accounting, None where not measured.
    """

    name: str
    torch: int | None
    system: int | None


@dataclass(frozen=True)
class Section:
    """What was measured together, in one process and in turn.

    Args:
        kind: what it times.
        setting: on what.
        timings: the contenders.
        peaks: peak memory of some of them.
        notices: what was left out, and why.
    """

    kind: Kind
    setting: Setting
    timings: tuple[Timing, ...]
    peaks: tuple[Peak, ...] = ()
    notices: tuple[str, ...] = ()

    def timing(self, name: str) -> Timing | None:
        """The contender of a name, None where it was not timed."""
        return next((timing for timing in self.timings if timing.name == name), None)

    def peak(self, name: str) -> Peak | None:
        """Peak memory of the contender of a name, None where it was not measured."""
        return next((peak for peak in self.peaks if peak.name == name), None)


@dataclass(frozen=True)
class Results:
    """A whole benchmark.

    Args:
        machine: hardware and versions.
        rounds: rounds asked for.
        chunk_bytes: the engine's budget for one chunk on this device, bytes.
        sections: what was measured.
    """

    machine: Machine
    rounds: int
    chunk_bytes: int
    sections: tuple[Section, ...]

    def to_json(self) -> str:
        """The results as JSON: every sample, in seconds with five digits.

        Returns:
            JSON that `results_from_json` reads back.
        """
        record = {"format": FORMAT, **asdict(self)}
        for section in record["sections"]:
            for timing in section["timings"]:
                timing["seconds"] = [_rounded(value) for value in timing["seconds"]]
                timing["first"] = _rounded(timing["first"])
        text = json.dumps(record, indent=1, ensure_ascii=False)
        return re.sub(r"\[\s+([-+\d.e,\s]+?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"

    def save(self, path: str | Path) -> Path:
        """Write the results as JSON.

        Args:
            path: where to.

        Returns:
            The path.
        """
        path = Path(path)
        path.write_text(self.to_json(), encoding="utf-8")
        return path


def results_from_json(text: str) -> Results:
    """Read what `Results.to_json` wrote.

    Args:
        text: the JSON.

    Returns:
        The results.

    Raises:
        QTargetError: it is something else.
    """
    try:
        record = json.loads(text)
        version = record["format"]
        if version == FORMAT:
            sections = tuple(section_from_record(section) for section in record["sections"])
            return Results(Machine(**record["machine"]), record["rounds"], record["chunk_bytes"], sections)
    except (ValueError, LookupError, TypeError) as error:
        raise QTargetError(f"these are no results of a benchmark: {type(error).__name__}: {error}") from error
    raise QTargetError(f"these results have format {version!r}; this version reads {FORMAT}.")


def section_from_record(record: dict[str, Any]) -> Section:
    """A section from the dict that `dataclasses.asdict` made of one.

    Args:
        record: the dict.

    Returns:
        The section.
    """
    return Section(
        record["kind"],
        Setting(**record["setting"]),
        tuple(Timing(**{**timing, "seconds": tuple(timing["seconds"])}) for timing in record["timings"]),
        tuple(Peak(**peak) for peak in record["peaks"]),
        tuple(record["notices"]),
    )


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.5g}")
