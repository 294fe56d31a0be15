"""Shape checks rest here: identify makes thousands of laws, and the checker compiles each of them anew."""

from collections.abc import Callable, Iterator

import jaxtyping
import pytest
import shape_checks


def _unchecked(function: Callable) -> Callable:
    return function


@pytest.fixture(autouse=True)
def _without_shape_checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(shape_checks, "checker", _unchecked)
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
