"""The built wheel holds the whole package and runs without the checkout."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import sys, torch
import qtarget_inspect as qt

logits = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64)
target = qt.invert("dft", qt.TokenBatch(logits, torch.tensor([0])))
p = logits.softmax(-1)
torch.testing.assert_close(target.q, p[0, 0] * torch.eye(3, dtype=torch.float64)[:1] + (1 - p[0, 0]) * p)
print(qt.__file__)
"""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]


def run(*command, cwd):
    """Run a command away from the checkout; return what it printed."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the checkout by the tools that are installed."""
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def scripts(wheel, tmp_path_factory):
    """The scripts of a fresh environment with the wheel in it, which sees torch and the like next door."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=True)
    (site_packages,) = home.glob("lib/python*/site-packages")
    next_door = [path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}]
    (site_packages / "next-door.pth").write_text("\n".join(next_door))
    pip = [sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install", "-q", "-q"]
    run(*pip, "--no-index", "--no-deps", "--force-reinstall", "--ignore-installed", wheel, cwd=home)
    return home / "bin"


def test_every_file_is_in_it(wheel):
    package = ROOT / "qtarget_inspect"
    files = {path.relative_to(ROOT).as_posix() for path in package.rglob("*") if path.is_file()}
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    assert {name for name in files if "__pycache__" not in name} <= packed
    assert "qtarget_inspect/py.typed" in packed
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in packed)


def test_it_inverts_a_loss(scripts):
    origin = Path(run(scripts / "python", "-P", "-c", PROGRAM, cwd=scripts).strip())
    assert origin.is_relative_to(scripts.parent), f"qtarget_inspect came from {origin}"


@pytest.mark.parametrize(("arguments", "expected"), [(["--help"], "inspect"), (["variants"], "target-sft")])
def test_its_command_runs(scripts, arguments, expected):
    assert expected in run(scripts / "qtarget-inspect", *arguments, cwd=scripts)
