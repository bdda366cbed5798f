"""Desired and reported state: what can be asked, over HTTP (see twin_routes) and over the control
socket."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from pydantic import BaseModel, Field

from gateway.core.errors import Unavailable
from gateway.runtime.twinning import Twinning
from gateway.web.house import House
from gateway.web.params import MOST_ID, DeviceParams, Params

Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Version = Annotated[int, Field(ge=0, le=MOST_ID)]


class VersionParams(Params):
    """Which one is to be replaced."""

    version: Version | None = None
    """Only if it has this version now (0: if there is none)."""


class DesiredParams(VersionParams):
    """What a key is to be."""

    value: Any
    """Any JSON value."""


class NamedDesiredParams(DesiredParams, DeviceParams):
    """Of which device."""

    key: Key
    """Which key."""


class NamedVersionParams(VersionParams, DeviceParams):
    """Of which device."""

    key: Key
    """Which key."""


def at_work(house: House) -> Twinning:
    """Whoever keeps state. Raises Unavailable while nobody does."""
    if house.twinning is None:
        raise Unavailable("the gateway is still starting", fix="try again in a moment")
    return house.twinning


def twin_calls(
    house: House,
) -> dict[str, tuple[type[BaseModel], Callable[[Any], Awaitable[Any]]]]:
    """What the command line can ask, by name: (its arguments, what answers)."""

    async def state(asked: DeviceParams) -> Any:
        return at_work(house).state(asked.device)

    async def desire(asked: NamedDesiredParams) -> Any:
        await at_work(house).desire(asked.device, asked.key, asked.value, asked.version)
        return at_work(house).state(asked.device)

    async def withdraw(asked: NamedVersionParams) -> Any:
        await at_work(house).withdraw(asked.device, asked.key, asked.version)
        return at_work(house).state(asked.device)

    return {
        "state": (DeviceParams, state),
        "desire": (NamedDesiredParams, desire),
        "withdraw": (NamedVersionParams, withdraw),
    }
