"""Shared fixtures; the shape annotations of the package are checked while the tests run."""

import os

import pytest
import torch


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
