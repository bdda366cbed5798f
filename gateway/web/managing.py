"""The device registry: what people say of devices and do with them, over HTTP (see
managing_routes) and over the control socket."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from gateway.core.errors import Unavailable
from gateway.core.settings import Id
from gateway.runtime.managing import Managing
from gateway.runtime.registry_rows import COLUMNS, RegistryRows
from gateway.web.house import House
from gateway.web.params import MOST_ID, DeviceParams, Params

Text = Annotated[str, Field(max_length=200)]
Shown = Literal["new", "adopted", "ignored"]


class DevicesParams(Params):
    """Which devices are asked for."""

    filter: Annotated[str, Field(max_length=256)] = ""
    """Only those whose id or name holds this, or fits it where it is a shell pattern."""
    state: Shown | None = None
    """Only those in this state."""
    tag: Annotated[str, Field(max_length=64)] = ""
    """Only those with this tag."""
    limit: Annotated[int, Field(ge=1, le=MOST_ID)] | None = None
    """The most devices to answer with; all if not given."""
    offset: Annotated[int, Field(ge=0, le=MOST_ID)] = 0
    """How many devices to leave out before them."""


class ChangeParams(Params):
    """What is to be said of a device; what is not given stays."""

    name: Text | None = None
    """Its name for people; its id stays."""
    model: Text | None = None
    """What it is."""
    firmware: Text | None = None
    """Which version runs on it."""
    tags: Annotated[tuple[Text, ...], Field(max_length=32)] | None = None
    """All of its tags."""
    attributes: Annotated[dict[Text, Text], Field(max_length=32)] | None = None
    """All of what else is to be known of it."""


class NamedChangeParams(ChangeParams, DeviceParams):
    """Of which device."""


class MergeParams(Params):
    """Into which."""

    into: Id
    """The device that goes on."""


class NamedMergeParams(MergeParams, DeviceParams):
    """Which into which."""


def at_work(house: House) -> Managing:
    """Whoever keeps the registry. Raises Unavailable while nobody does."""
    if house.managing is None:
        raise Unavailable("the gateway is still starting", fix="try again in a moment")
    return house.managing


def page(house: House, asked: DevicesParams) -> tuple[list[dict[str, Any]], int]:
    """The devices that are asked for, and how many there are of these in all."""
    if house.managing is None:
        found = [each["id"] for each in house.devices()]
    else:
        found = [each.id for each in house.managing.listed(asked.filter, asked.state, asked.tag)]
    stop = None if asked.limit is None else asked.offset + asked.limit
    return [house.device(device) for device in found[asked.offset : stop]], len(found)


async def change(house: House, device: str, asked: ChangeParams) -> dict[str, Any]:
    """Say something else of a device. Raises LookupError, ValueError, Unavailable."""
    changes = {
        key: getattr(asked, key)
        for key in ChangeParams.model_fields
        if getattr(asked, key) is not None
    }
    await at_work(house).change(device, **changes)
    return house.device(device)


async def decide(house: House, device: str, state: Shown) -> dict[str, Any]:
    """Adopt or ignore a device. Raises LookupError, Unavailable."""
    await at_work(house).change(device, state=state)
    return house.device(device)


async def merge(house: House, device: str, into: str) -> dict[str, Any]:
    """Merge a device into another. Raises LookupError, ValueError, Unavailable."""
    await at_work(house).merge(device, into)
    return house.device(into)


async def forget(house: House, device: str) -> dict[str, Any]:
    """Forget a device; what it was. Raises LookupError, Unavailable."""
    gone = house.device(device)
    await at_work(house).forget(device)
    return gone


class PageParams(Params):
    """Which rows."""

    limit: Annotated[int, Field(ge=1, le=500)] = 200
    """The most rows."""
    offset: Annotated[int, Field(ge=0, le=MOST_ID)] = 0
    """How many to leave out before them."""


class RowsParams(Params):
    """Rows of the registry."""

    rows: Annotated[
        tuple[tuple[int, dict[str, Annotated[str, Field(max_length=4_000)]]], ...],
        Field(max_length=500),
    ]
    """The number of its line, and what it holds by column."""
    check: bool = False
    """Change nothing."""


def _rows_of(house: House) -> RegistryRows:
    return RegistryRows(at_work(house).devices, at_work(house))


def _row_calls(
    house: House,
) -> dict[str, tuple[type[BaseModel], Callable[[Any], Awaitable[Any]]]]:
    async def rows(asked: PageParams) -> Any:
        return {"columns": COLUMNS, "rows": _rows_of(house).rows(asked.offset, asked.limit)}

    async def take(asked: RowsParams) -> Any:
        return await _rows_of(house).take(asked.rows, asked.check)

    return {"registry_rows": (PageParams, rows), "registry_take": (RowsParams, take)}


def managing_calls(
    house: House,
) -> dict[str, tuple[type[BaseModel], Callable[[Any], Awaitable[Any]]]]:
    """What the command line can ask, by name: (its arguments, what answers)."""

    async def devices(asked: DevicesParams) -> Any:
        return page(house, asked)[0]

    async def said(asked: NamedChangeParams) -> Any:
        return await change(house, asked.device, asked)

    async def adopt(asked: DeviceParams) -> Any:
        return await decide(house, asked.device, "adopted")

    async def ignore(asked: DeviceParams) -> Any:
        return await decide(house, asked.device, "ignored")

    async def merged(asked: NamedMergeParams) -> Any:
        return await merge(house, asked.device, asked.into)

    async def forgotten(asked: DeviceParams) -> Any:
        return await forget(house, asked.device)

    return {
        "devices": (DevicesParams, devices),
        "device_change": (NamedChangeParams, said),
        "device_adopt": (DeviceParams, adopt),
        "device_ignore": (DeviceParams, ignore),
        "device_merge": (NamedMergeParams, merged),
        "device_forget": (DeviceParams, forgotten),
        **_row_calls(house),
    }
