"""What tests of the engine and of sessions share."""

from collections.abc import Iterator

import pytest

from napari_sam.engine import Engine


@pytest.fixture
def engine() -> Iterator[Engine]:
    """Threads, which end with the test."""
    made = Engine()
    yield made
    made.close(5)
