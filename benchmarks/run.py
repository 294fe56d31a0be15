"""Run the benchmarks, and put their tables into benchmarks/README.md.

    python benchmarks/run.py                                    # everything; about twenty minutes on an idle machine
    python benchmarks/run.py --tables                           # the tables again, from results that are there already

Every sample goes into results/cpu.json, or results/cuda.json where there is a GPU; the tables stand between markers.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path

import torch

from qtarget_inspect.benchmark.machine import available_memory
from qtarget_inspect.benchmark.report import markdown_report, verdict_counts
from qtarget_inspect.benchmark.results import results_from_json
from qtarget_inspect.benchmark.running import fitting, run_benchmark
from qtarget_inspect.benchmark.setting import DTYPES, REAL_VOCABULARY, SHAPES, Setting

HERE = Path(__file__).parent
BLOCK = "<!-- results: {device} -->\n{text}<!-- end -->"
GPU_SHAPE = (8192, 151936)
"""Rows enough for a GPU's bandwidth to be reached."""


def settings(device: str) -> list[Setting]:
    """All settings, the one that goals are set for first."""
    shapes = [*SHAPES, GPU_SHAPE] if device == "cuda" else SHAPES
    rows = SHAPES[0][0]
    real = [Setting(rows, REAL_VOCABULARY, dtype, "smollm2", device) for dtype in DTYPES]
    first, *others = [Setting(*shape, dtype=dtype, device=device) for shape in shapes for dtype in DTYPES]
    return [first, *real, *others]


def refresh(device: str, text: str) -> None:
    """Put a report into the README."""
    path = HERE / "README.md"
    page = path.read_text(encoding="utf-8")
    pattern = re.compile(BLOCK.format(device=device, text=r".*?"), re.DOTALL)
    if not pattern.search(page):
        sys.exit(f"{path} has no block for results of {device}")
    fresh = BLOCK.format(device=device, text=f"{text}\n")
    path.write_text(pattern.sub(lambda _: fresh, page), encoding="utf-8")


def main() -> None:
    """Time, save, and refresh the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tables", action="store_true", help="take the results that were saved last")
    parser.add_argument("--rounds", type=int, default=15, help="15 by default")
    parser.add_argument("--threads", type=int, help="threads of torch; by default as it is set")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    path = HERE / "results" / f"{device}.json"
    if not arguments.tables:
        start = time.perf_counter()

        def notify(text: str) -> None:
            print(f"{time.perf_counter() - start:5.0f} s  {text}", flush=True)

        notify(f"{available_memory(device) / 2**30:.1f} GiB of memory are free")
        wanted = fitting(settings(device), notify)
        results = run_benchmark(
            wanted, rounds=arguments.rounds, threads=arguments.threads, whole=wanted[:1], notify=notify
        )
        path.parent.mkdir(exist_ok=True)
        results.save(path)
    results = results_from_json(path.read_text(encoding="utf-8"))
    refresh(device, markdown_report(results))
    print(verdict_counts(results))


if __name__ == "__main__":
    main()
