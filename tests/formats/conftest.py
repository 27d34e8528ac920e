"""A measurement of a letter F."""

from __future__ import annotations

import pytest
from fixtures.letter import measured_letter


@pytest.fixture(scope="session")
def letter():
    return measured_letter()
