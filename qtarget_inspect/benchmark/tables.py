"""Tables: results as data frames, in numbers and as people read them."""

from __future__ import annotations

import re

import pandas as pd

from qtarget_inspect.benchmark.contenders.contender import FLOOR
from qtarget_inspect.benchmark.contenders.plain import naive_name
from qtarget_inspect.benchmark.plain_losses import PLAIN_LOSSES
from qtarget_inspect.benchmark.results import Results, Section, Timing
from qtarget_inspect.benchmark.spread import Spread, ratios, spread
from qtarget_inspect.benchmark.verdicts import NOT_ASKED, Verdict, verdicts

MIB = 2**20


def timings_frame(section: Section) -> pd.DataFrame:
    """Every contender of a section in numbers.

    Args:
        section: a section.

    Returns:
        A row a contender: milliseconds and ratios to the floor (median, quartiles), the ratio to the naive line of the
        same loss (of DFT where a contender has none), first call in seconds, peak memory in MiB over inputs and result,
        by torch and by the system. NaN where not measured.
    """
    return pd.DataFrame([_row(timing, section) for timing in section.timings])


def timings_table(section: Section) -> pd.DataFrame:
    """The same as people read it.

    Args:
        section: a section.

    Returns:
        A DataFrame of strings.
    """
    frame = timings_frame(section)
    records = frame.to_dict("records")
    shown = pd.DataFrame({
        "contender": [
            f"{name} ({about})" if about else name
            for name, about in zip(frame["contender"], frame["about"], strict=True)
        ],
        "ms": [_with_quartiles(row, "ms") for row in records],
        "floors": [_with_quartiles(row, "floors") for row in records],
        "of naive": frame["of_naive"].map(_number),
        "peak MiB, torch": frame["peak_torch_mib"].map(_whole),
        "system": frame["peak_system_mib"].map(_whole),
    })
    return shown.loc[:, [name for name in shown.columns if name == "contender" or (shown[name] != "-").any()]]


def goals_frame(results: Results) -> pd.DataFrame:
    """Every goal on every setting in numbers.

    Args:
        results: a benchmark.

    Returns:
        A row a goal and setting: limit, median and quartiles of what was found, verdict; NaN where not measured.
    """
    rows = []
    for verdict in verdicts(results):
        value = verdict.value or Spread(float("nan"), float("nan"), float("nan"))
        rows.append({
            "goal": verdict.goal.text,
            "setting": _where(verdict),
            "limit": verdict.goal.limit,
            "unit": verdict.goal.unit,
            "median": value.median,
            "low": value.low,
            "high": value.high,
            "verdict": verdict.text,
        })
    return pd.DataFrame(rows)


def goals_table(results: Results) -> pd.DataFrame:
    """Goals as people read them, a column a setting.

    Args:
        results: a benchmark.

    Returns:
        A DataFrame of strings: the goal, its limit, then on each setting what was found and whether that is met. Goals
        that were not asked for are left out.
    """
    found = [verdict for verdict in verdicts(results) if verdict.reason != NOT_ASKED]
    settings = list(dict.fromkeys(_where(verdict) for verdict in found if verdict.section is not None))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for verdict in found:
        row = rows.setdefault((verdict.goal.text, _limit(verdict)), {})
        row[_where(verdict)] = _finding(verdict)
    return pd.DataFrame([
        {"goal": goal, "limit": limit, **{name: _cell(row, name) for name in settings or ["verdict"]}}
        for (goal, limit), row in rows.items()
    ])


def page_faults_table(results: Results) -> pd.DataFrame | None:
    """What of each time is page faults: fresh memory beside memory that the allocator kept.

    Args:
        results: a benchmark.

    Returns:
        A row a contender, in floors of its own process; None where it was not measured.
    """
    kept = next((section for section in results.sections if section.kind == "kept memory"), None)
    plain = [s for s in results.sections if s.kind == "shape" and kept is not None and s.setting == kept.setting]
    if kept is None or not plain:
        return None
    rows = []
    for timing in kept.timings:
        same = plain[0].timing(timing.name)
        if same is not None:
            fresh, left = (_floors(each, section).median for each, section in ((same, plain[0]), (timing, kept)))
            rows.append({
                "contender": timing.name,
                "floors": _number(fresh),
                "floors, memory kept": _number(left),
                "page faults, floors": _number(fresh - left),
                "their share": f"{100 * (fresh - left) / fresh:.0f} %",
            })
    return pd.DataFrame(rows)


def seconds_table(section: Section) -> pd.DataFrame:
    """A section whose times are seconds: `identify`, compile time.

    Args:
        section: a section.

    Returns:
        A DataFrame of strings.
    """
    return pd.DataFrame([
        {"what": timing.name, "seconds": _number(spread(timing.seconds).median), "calls": str(len(timing.seconds))}
        for timing in section.timings
    ])


def _row(timing: Timing, section: Section) -> dict[str, object]:
    seconds, floors, peak = spread(timing.seconds), _floors(timing, section), section.peak(timing.name)
    naive = section.timing(_naive_of(timing.name))
    sizes = (None, None) if peak is None else (peak.torch, peak.system)
    torch_mib, system_mib = (float("nan") if size is None else size / MIB for size in sizes)
    return {
        "contender": timing.name,
        "group": timing.group,
        "rounds": len(timing.seconds),
        "ms": 1e3 * seconds.median,
        "ms_low": 1e3 * seconds.low,
        "ms_high": 1e3 * seconds.high,
        "floors": floors.median,
        "floors_low": floors.low,
        "floors_high": floors.high,
        "of_naive": float("nan") if naive is None else spread(ratios(timing.seconds, naive.seconds)).median,
        "first_call_s": timing.first,
        "peak_torch_mib": torch_mib,
        "peak_system_mib": system_mib,
        "about": timing.about,
    }


def _floors(timing: Timing, section: Section) -> Spread:
    floor = section.timing(FLOOR)
    if floor is None:
        return Spread(float("nan"), float("nan"), float("nan"))
    return spread(ratios(timing.seconds, floor.seconds))


def _naive_of(name: str) -> str:
    """The naive line of the loss that a contender is about: the second word of its name, where that is one of them."""
    loss = next((loss.name for loss in PLAIN_LOSSES if re.search(rf", {loss.name}(,|$)", name)), PLAIN_LOSSES[0].name)
    return naive_name(loss)


def _where(verdict: Verdict) -> str:
    """The column of a verdict: goals that are not about a shape stand in every table once, under the first."""
    return "" if verdict.section is None else verdict.section.setting.text


def _limit(verdict: Verdict) -> str:
    sign = "≥" if verdict.goal.quantity == "bandwidth" else "≤"
    return f"{sign} {verdict.goal.limit:g} {verdict.goal.unit}"


def _finding(verdict: Verdict) -> str:
    if verdict.value is None:
        return verdict.text
    low, high = _number(verdict.value.low), _number(verdict.value.high)
    quartiles = "" if low == high else f" [{low}, {high}]"
    return f"{_number(verdict.value.median)}{quartiles} {verdict.text}"


def _cell(row: dict[str, str], setting: str) -> str:
    return row.get(setting, row.get("", "-"))


def _with_quartiles(row: dict[str, object], name: str) -> str:
    median, low, high = (_number(row[name + end]) for end in ("", "_low", "_high"))
    return median if low == high else f"{median} [{low}, {high}]"


def _number(value: object) -> str:
    number = float(value)  # type: ignore[arg-type]
    return "-" if number != number else f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"


def _whole(value: float) -> str:
    return "-" if value != value else f"{value:.0f}" if value >= 10 else f"{value:.1f}"
