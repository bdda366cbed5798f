"""What the tests of pools share."""

from collections.abc import AsyncIterator

import pytest

from tests.support.lines import LineServer


@pytest.fixture
async def servers() -> AsyncIterator[list[LineServer]]:
    """Two that run."""
    found = [await LineServer().start(), await LineServer().start()]
    yield found
    for server in found:
        await server.stop()
