"""What a command must be to be taken, and who carries it out."""

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from gateway.codecs.reports import LATEST
from gateway.core.commands import IDENTITY, NAME, Commandable, Schema, misfit
from gateway.core.contracts import Actuator, Command, Ordering, Reply
from gateway.core.errors import Conflict, Rejected
from gateway.core.settings import parse_duration
from gateway.runtime.intake import Intake
from gateway.store.commands import Commanded
from gateway.store.devices import Devices

log = logging.getLogger(__name__)

LIFETIME = 60.0
"""When a command that does not say it is too late (s after it came)."""
LARGEST = 16_384
"""The most of a command's arguments, and of its result (bytes of JSON)."""
PATIENCE = 60.0
"""How long a driver may take (s)."""
_MOMENT = 2.0  # how long the answer to what is done just before it is late may take (s)


@dataclass(frozen=True, slots=True)
class Target:
    """Whoever carries out the commands of one device. original: the device's name there. schemas:
    of the arguments by command; None where the driver does not tell. at_once: the driver orders
    them itself."""

    actuator: Actuator
    original: str
    schemas: Mapping[str, Schema] | None
    at_once: bool = False


class Find(Protocol):
    """Finds whoever carries out a device's commands."""

    def __call__(self, device: str) -> Target:
        """Raises LookupError for a device nobody knows, Conflict for one that takes none."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A command as it came. expires: ns since the epoch, 0 where it does not say. asked_by: mqtt,
    http, cli. retained: the broker had kept it, nobody knows since when."""

    device: str
    name: str
    args: Mapping[str, Any]
    id: str = ""
    expires: int = 0
    asked_by: str = "http"
    retained: bool = False


class Finder:
    """Finds the driver of a device's source, and what it can be told."""

    def __init__(self, devices: Devices, intakes: Mapping[str, Intake]) -> None:
        self._devices = devices
        self._intakes = intakes

    def __call__(self, device: str) -> Target:
        """See Find."""
        known = self._devices.get(device)
        intake = self._intakes.get(known.source)
        if intake is None:
            raise Conflict(
                f"{device} cannot be told anything: its source {known.source} is not configured",
                fix="add the source again, or forget the device",
            )
        driver: object = intake.device
        if not isinstance(driver, Actuator):
            raise Conflict(
                f"{device} cannot be told anything: its source {known.source} only hears"
            )
        if intake.stopped:
            raise Conflict(
                f"{device} cannot be told anything: its source stopped: {intake.failing}",
                fix="put the configuration right, then: berrygate reload",
            )
        target = target_of(driver, known.original)
        if target.schemas is not None and not target.schemas:
            raise Conflict(
                f"{device} cannot be told anything: no command of it is configured at its source "
                f"{known.source}"
            )
        return target


def target_of(actuator: Actuator, original: str) -> Target:
    """A driver as whoever carries out the commands of one of its devices."""
    schemas = actuator.commands(original) if isinstance(actuator, Commandable) else None
    at_once = isinstance(actuator, Ordering) and actuator.orders
    return Target(actuator, original, schemas, at_once)


LATEST_EXPIRY = LATEST // 1_000_000 - 1
"""Epoch ms, in 2261: what is later does not fit 64 bits of ns."""


def expiry(value: float | str | None, now: int) -> int:
    """When a command is too late (ns since the epoch), of epoch ms or a while from `now` on such
    as 30s; 0 where it does not say. Raises Rejected."""
    if value is None:
        return 0
    try:
        if isinstance(value, str):
            found = now + int(parse_duration(value) * 1e9)
        elif 0 < value < 2**53:
            found = int(value) * 1_000_000
        else:
            raise ValueError(f"{value} is no time; expected epoch ms, or a while such as 30s")
    except ValueError as error:
        raise Rejected(f"expires: {error}") from error
    if found >= LATEST:
        raise Rejected("expires: no time from 2262 on; leave it out for the usual while")
    return found


def checked(asked: Asked, now: int) -> Commanded:
    """The command that is asked for, new at `now` (ns). Raises Rejected."""
    if asked.retained:
        raise Rejected(
            "it was retained: nobody knows since when it waits",
            fix="publish commands without retain, and clear the topic",
        )
    if not NAME.fullmatch(asked.name):
        raise Rejected(f'"{asked.name[:80]}" is no name of a command')
    identity = asked.id or uuid.uuid4().hex
    if not IDENTITY.fullmatch(identity):
        raise Rejected("an id has at most 128 printable ASCII characters, no / and no spaces")
    if len(msgspec.json.encode(asked.args)) > LARGEST:
        raise Rejected(f"the arguments are more than {LARGEST} bytes")
    expires = asked.expires or now + int(LIFETIME * 1e9)
    return Commanded(
        identity, asked.device, asked.name, asked.args, asked.asked_by, now, expires, changed=now
    )


def fits(command: Commanded, target: Target) -> None:
    """Whether the device knows such a command, with such arguments. Raises Rejected."""
    if target.schemas is None:
        return
    schema = target.schemas.get(command.name)
    if schema is None:
        names = ", ".join(sorted(target.schemas)) or "none"
        raise Rejected(f'{command.device} has no command "{command.name}"; known: {names}')
    if why := misfit(schema, command.args):
        raise Rejected(f"{command.name}: {why}")


async def carried_out(command: Commanded, target: Target, deadline: float) -> Reply:
    """Have the driver do it; what became of it. deadline: when it is late (time.monotonic())."""
    left = deadline - time.monotonic() + _MOMENT
    patience = max(PATIENCE, left) if target.at_once else PATIENCE
    order = Command(command.name, command.args, command.id, command.expires, target.original)
    try:
        async with asyncio.timeout(patience):
            return await target.actuator.execute(order)
    except TimeoutError:
        return Reply("failed", error=f"the driver gave no answer within {patience:.4g} s")
    except Exception as error:
        # The edge: one driver's bug must not end the commands of all others.
        log.exception("command %s of %s failed", command.name, command.device)
        return Reply("failed", error=f"the driver failed: {error or type(error).__name__}")


def limited(result: Any) -> Any:
    """A result that can be kept and sent."""
    try:
        encoded = msgspec.json.encode(result)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return str(result)[:LARGEST]
    if len(encoded) <= LARGEST:
        return msgspec.json.decode(encoded)
    return encoded[:LARGEST].decode(errors="replace")
