"""Worker: one task of `own_process`, read from a file: `python -m qtarget_inspect.benchmark.worker TASK ANSWER`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from qtarget_inspect.benchmark.contenders.generic import generic_contenders
from qtarget_inspect.benchmark.plain_losses import PLAIN_LOSSES
from qtarget_inspect.benchmark.sections import seconds_of, shape_section, synchronizer
from qtarget_inspect.benchmark.setting import Setting
from qtarget_inspect.benchmark.workload import make_workload


def main(given: Path, found: Path) -> None:
    """Do one task.

    Args:
        given: a file with the task as JSON.
        found: where the answer goes, as JSON.
    """
    task = json.loads(given.read_text(encoding="utf-8"))
    torch.set_num_threads(task["threads"])
    setting = Setting(**task["setting"])
    if task["task"] == "kept memory":
        section = shape_section(
            setting, ("plain", "generic", "compiled"), task["rounds"], names=set(task["names"]), peaks=False
        )
        answer: dict[str, Any] = {**asdict(section), "kind": "kept memory"}
    else:
        compiled = generic_contenders(PLAIN_LOSSES[:1], compiled=True)[0].prepare(make_workload(setting))
        first, second = (seconds_of(compiled, synchronizer(setting.device)) for _ in range(2))
        answer = {"first": first, "second": second}
    found.write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
