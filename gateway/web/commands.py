"""Commands to devices: what can be asked, over HTTP (see command_routes) and over the control
socket."""

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from pydantic import BaseModel, Field

from gateway.core.errors import Unavailable
from gateway.core.settings import Id
from gateway.runtime.command_targets import LATEST_EXPIRY, Asked, expiry
from gateway.runtime.commanding import Commanding
from gateway.web.house import House
from gateway.web.params import DeviceParams, Params, Wait, While

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Identity = Annotated[str, Field(pattern=r"^[!-.0-~]{1,128}$")]
Ms = Annotated[int, Field(ge=1, le=LATEST_EXPIRY)]


class CommandParams(Params):
    """A command."""

    id: Identity | None = None
    """The asker's; asked again with the same it is answered and not done again. Made up if not
    given."""
    expires: Ms | While | None = None
    """When it is too late: epoch ms, or a while from now on such as 30s (1m)."""
    args: dict[str, Any] = Field(default_factory=dict)
    """With which values."""


class NamedCommandParams(CommandParams):
    """Names device and command as well."""

    device: Id
    """The device's id."""
    name: Name
    """What it is to do."""
    wait: Wait = 10.0
    """How long to wait for the outcome."""


class WaitParams(Params):
    """How long to wait."""

    wait: Wait = 10.0
    """How long to wait for the outcome, such as 5s; at most 25s. 0: not at all."""


class LatestParams(Params):
    """How many."""

    limit: Annotated[int, Field(ge=1, le=500)] = 50
    """The most commands to answer with."""


class NamedLatestParams(LatestParams, DeviceParams):
    """Of which device."""


class IdentityParams(Params):
    """Names one command."""

    id: Identity
    """Its id."""


_LONGEST = 25.0  # the command line waits 30 s for an answer


def at_work(house: House) -> Commanding:
    """Whoever carries commands out. Raises Unavailable while nobody does."""
    if house.commanding is None:
        raise Unavailable("the gateway is still starting", fix="try again in a moment")
    return house.commanding


async def give(
    house: House, device: str, name: str, asked: CommandParams, wait: float, asked_by: str
) -> tuple[dict[str, Any], bool]:
    """Have a device do something; how that stands, and whether it has ended. Raises LookupError,
    Rejected, Conflict, Unavailable."""
    now, expires = time.time_ns(), asked.expires
    late = now + int(expires * 1e9) if isinstance(expires, float) else expiry(expires, now)
    order = Asked(device, name, asked.args, asked.id or "", late, asked_by)
    commanding = at_work(house)
    command, again = await commanding.ask(order)
    if not command.ended:
        command = await commanding.wait(command.id, min(wait, _LONGEST))
    return command.as_dict() | {"repeated": again}, command.ended


async def of_device(house: House, device: str, limit: int) -> dict[str, Any]:
    """What a device can be told, and what it was told last. Raises LookupError, Unavailable."""
    known = at_work(house).what(device)
    found = await at_work(house).latest(device, limit)
    return {"device": device, **known, "commands": [each.as_dict() for each in found]}


def command_calls(
    house: House,
) -> dict[str, tuple[type[BaseModel], Callable[[Any], Awaitable[Any]]]]:
    """What the command line can ask, by name: (its arguments, what answers)."""

    async def command(asked: NamedCommandParams) -> Any:
        found, _ = await give(house, asked.device, asked.name, asked, asked.wait, "cli")
        return found

    async def commands(asked: NamedLatestParams) -> Any:
        return await of_device(house, asked.device, asked.limit)

    async def outcome(asked: IdentityParams) -> Any:
        return (await at_work(house).find(asked.id)).as_dict()

    return {
        "command": (NamedCommandParams, command),
        "commands": (NamedLatestParams, commands),
        "command_outcome": (IdentityParams, outcome),
    }
