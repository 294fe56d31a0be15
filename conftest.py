"""Shared fixtures; shape annotations of the numerical core are checked while the tests run."""

import os
import sys
from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

SHAPE_CHECKED = ["qtarget_inspect.losses", "qtarget_inspect.core.numerics", "qtarget_inspect.vocabulary"]
"""Modules that only we call. The rest answers wrong input with messages of its own, which a checker would forestall."""

sys.path.append(str(Path(__file__).parent / "tests" / "support"))
install_import_hook(SHAPE_CHECKED, "shape_checks.checker")


def pytest_configure(config: pytest.Config) -> None:
    """One thread a worker: the workers share the cores."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def probes():
    """The built-in probe states, whole."""
    import qtarget_inspect as qt

    return qt.probe_batch()
