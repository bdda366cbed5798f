"""What tests of several drivers need."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cable import Cable


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Cable]:
    """A serial cable; not yet plugged in."""
    found = Cable(tmp_path / "by-id-scale")
    yield found
    found.unplug()
