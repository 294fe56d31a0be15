"""Time the explorer's page in headless Chromium: how soon the first figure is there, how long a move of a slider takes.

    python benchmarks/explorer.py                  # half a minute; writes results/explorer.json

A move is timed in the page: from the input event to the frame after the redraw.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
STATES = {
    "two losses": "losses=sft,dft",
    "four losses": "losses=gem,asft,target-sft,grpo",
    "four losses, larger type": "losses=gem,asft,target-sft,grpo&lecture=1",
}
SLIDERS = {"p_y": "slider-p", "the others' entropy": "slider-shape", "the teacher": "slider-teacher"}
FIRST_FIGURE_MS, MOVE_MS = 2000, 100
"""The goals."""

MOVES = """
    const [name, moves, done] = arguments;
    const slider = document.getElementById(name);
    const times = [];
    const move = () => {
        if (times.length === moves) return done(times);
        slider.value = (Number(slider.value) + 1) % (Number(slider.max) + 1);
        const start = performance.now();
        slider.dispatchEvent(new Event("input", { bubbles: true }));
        // the first frame redraws; the second begins once the browser has shown it
        requestAnimationFrame(() => requestAnimationFrame(() => {
            times.push(performance.now() - start);
            setTimeout(move, 30);
        }));
    };
    move();
"""


def chromium(width: int, height: int) -> Any:
    """A headless browser."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if None in found.values():
        sys.exit("this benchmark needs chromium and chromedriver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(found["chromium"])
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--window-size={width},{height}"):
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=Service(executable_path=str(found["chromedriver"])))


def measure(driver: Any, address: str, loads: int, moves: int) -> dict[str, Any]:
    """Milliseconds to the first figure, [loads], and of every move, slider -> [moves]."""
    first = []
    for _ in range(loads):
        driver.get("about:blank")
        driver.get(address)
        first.append(float(driver.execute_script("return Number(document.documentElement.dataset.firstFigure)")))
    moved = {name: driver.execute_async_script(MOVES, slider, moves) for name, slider in SLIDERS.items()}
    return {"first_figure": first, "moves": moved}


def table(results: dict[str, Any]) -> str:
    """The medians, with the slowest tenth of the moves, as Markdown."""
    head = ["| ms | first figure | " + " | ".join(SLIDERS) + " |", "|---|---|" + "---|" * len(SLIDERS)]
    rows = []
    for state, found in results["states"].items():
        cells = [f"{statistics.median(found['first_figure']):.0f}"]
        for times in found["moves"].values():
            slow = statistics.quantiles(times, n=10)[-1]
            cells.append(f"{statistics.median(times):.0f} (slowest tenth from {slow:.0f})")
        rows.append(f"| {state} | " + " | ".join(cells) + " |")
    return "\n".join([*head, *rows])


def main() -> None:
    """Time, print the medians, save every sample."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--loads", type=int, default=5)
    parser.add_argument("--moves", type=int, default=25)
    arguments = parser.parse_args()

    from qtarget_inspect.explorer.page import write_explorer

    driver = chromium(1440, 900)
    try:
        with tempfile.TemporaryDirectory() as folder:
            page = write_explorer(Path(folder) / "explorer.html")
            states = {
                name: measure(driver, f"{page.as_uri()}#{fragment}", arguments.loads, arguments.moves)
                for name, fragment in STATES.items()
            }
            size = page.stat().st_size
        version = driver.capabilities["browserVersion"]
    finally:
        driver.quit()
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "chromium": version}
    machine["load"] = os.getloadavg()[0]
    results = {"bytes": size, "machine": machine, "goals_ms": [FIRST_FIGURE_MS, MOVE_MS], "states": states}
    (HERE / "results" / "explorer.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table(results))
    load = f"load {machine['load']:.1f} on {machine['cores']} cores"
    print(f"\nmedians; {size / 1e6:.2f} MB; Chromium {version}, headless, without a graphics card; {load}")


if __name__ == "__main__":
    main()
