"""Desired and reported state over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from gateway.web.answers import answer, known
from gateway.web.house import House
from gateway.web.models import Answer
from gateway.web.params import NoParams
from gateway.web.twins import DesiredParams, VersionParams, at_work

DevicePath = Annotated[str, Path(alias="id", pattern=r"^[a-z0-9_-]{1,64}$")]
KeyPath = Annotated[str, Path(alias="key", pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class TwinEntry(Answer):
    """One key."""

    value: Any
    version: int
    """Grows by one with each change."""
    time: int
    """When that was, epoch ms."""


class TwinAnswer(Answer):
    """What a device is to be and what it says it is, by key."""

    device: str
    desired: dict[str, TwinEntry]
    reported: dict[str, TwinEntry]
    """`of`, where it says so: the desired version that this answers."""
    differing: list[str]
    """The keys that are not what they are to be."""


def add_twins(routes: APIRouter, house: House) -> None:
    """Add the routes."""

    @routes.get("/devices/{id}/state", response_model=TwinAnswer, tags=["state"])
    async def twin(device: DevicePath, _: Annotated[NoParams, Query()]) -> Response:
        """What a device is to be, and what it says it is."""
        with known():
            return answer(at_work(house).state(device))

    @routes.put("/devices/{id}/desired/{key}", response_model=TwinAnswer, tags=["state"])
    async def desire(
        device: DevicePath, key: KeyPath, asked: DesiredParams, _: Annotated[NoParams, Query()]
    ) -> Response:
        """What a key is to be from now on; published to the device, retained."""
        with known():
            await at_work(house).desire(device, key, asked.value, asked.version)
            return answer(at_work(house).state(device))

    @routes.delete("/devices/{id}/desired/{key}", response_model=TwinAnswer, tags=["state"])
    async def withdraw(
        device: DevicePath, key: KeyPath, asked: Annotated[VersionParams, Query()]
    ) -> Response:
        """Nothing is desired of a key any more."""
        with known():
            await at_work(house).withdraw(device, key, asked.version)
            return answer(at_work(house).state(device))
