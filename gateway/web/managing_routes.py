"""The device registry over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from gateway.web import managing, models
from gateway.web.answers import answer, known
from gateway.web.house import House
from gateway.web.managing import ChangeParams, DevicesParams, MergeParams
from gateway.web.params import NoParams

DevicePath = Annotated[str, Path(alias="id", pattern=r"^[a-z0-9_-]{1,64}$")]
Nothing = Annotated[NoParams, Query()]
_COUNT: dict[int | str, dict[str, Any]] = {
    200: {"headers": {"X-Total-Count": {"schema": {"type": "integer"}}}}
}


def add_managing(routes: APIRouter, house: House) -> None:
    """Add the routes."""
    _add_registry(routes, house)
    _add_decisions(routes, house)


def _add_registry(routes: APIRouter, house: House) -> None:
    @routes.get("/devices", response_model=list[models.Device], responses=_COUNT, tags=["devices"])
    async def devices(asked: Annotated[DevicesParams, Query()]) -> Response:
        """Known devices with their last values, in the order they were met. X-Total-Count tells
        how many there are on all pages."""
        found, count = managing.page(house, asked)
        response = answer(found)
        response.headers["X-Total-Count"] = str(count)
        return response

    @routes.get("/devices/{id}", response_model=models.Device, tags=["devices"])
    async def device(device: DevicePath, _: Nothing) -> Response:
        """One device."""
        with known():
            return answer(house.device(device))

    @routes.patch("/devices/{id}", response_model=models.Device, tags=["devices"])
    async def change(device: DevicePath, asked: ChangeParams, _: Nothing) -> Response:
        """Say something else of a device: its name, tags and the like."""
        with known():
            return answer(await managing.change(house, device, asked))

    @routes.delete("/devices/{id}", response_model=models.Device, tags=["devices"])
    async def forget(device: DevicePath, _: Nothing) -> Response:
        """Forget a device, and clear what is retained of it; what it was. If it speaks again it is
        a new one. Its history stays until it is too old."""
        with known():
            return answer(await managing.forget(house, device))


def _add_decisions(routes: APIRouter, house: House) -> None:
    @routes.post("/devices/{id}/adopt", response_model=models.Device, tags=["devices"])
    async def adopt(device: DevicePath, _: Nothing) -> Response:
        """It is one of ours."""
        with known():
            return answer(await managing.decide(house, device, "adopted"))

    @routes.post("/devices/{id}/ignore", response_model=models.Device, tags=["devices"])
    async def ignore(device: DevicePath, _: Nothing) -> Response:
        """It is none of ours: what it says is counted and dropped, until it is adopted."""
        with known():
            return answer(await managing.decide(house, device, "ignored"))

    @routes.post("/devices/{id}/merge", response_model=models.Device, tags=["devices"])
    async def merge(device: DevicePath, asked: MergeParams, _: Nothing) -> Response:
        """What comes of this device is another's from now on; that other one."""
        with known():
            return answer(await managing.merge(house, device, asked.into))
