"""A measurement of a letter F."""

from __future__ import annotations

import pytest
from fixtures.letter import measured_letter
from fixtures.store import in_child  # noqa: F401


@pytest.fixture(scope="session")
def letter():
    return measured_letter()
