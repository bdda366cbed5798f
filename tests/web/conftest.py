from collections.abc import AsyncIterator

import httpx
import pytest

from gateway.web import server
from tests.support.small_house import SmallHouse


@pytest.fixture
def house() -> SmallHouse:
    return SmallHouse()


@pytest.fixture
async def port(house: SmallHouse) -> AsyncIterator[int]:
    async with server.serving(house, "127.0.0.1", 0) as (port, _):
        yield port


@pytest.fixture
async def http(port: int) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        yield client
