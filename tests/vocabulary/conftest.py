"""The checker of annotations, off for tests of what a user reads who hands over something of a wrong type."""

import pytest
from jaxtyping import config


@pytest.fixture
def as_a_user():
    """Calls are not checked against annotations, as outside the tests."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
