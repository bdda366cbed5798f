"""Values of a unit that are set: looked at by its map, written, read again."""

import asyncio
from collections.abc import Mapping
from typing import Any

from gateway.core.contracts import Reply, Value
from gateway.core.errors import Unavailable
from gateway.io.modbus.exchange import FUNCTION, Exchange, Refused
from gateway.io.modbus.plan import Block, Item, Memory, Part
from gateway.io.modbus.requests import read_request, remember, write_request
from gateway.io.modbus.units import Unit

SET = "set"
"""The command: its arguments are values by the names that the map gives them."""
_AGAIN = 0.3  # a device may need so long until it says what it was told (s)

Planned = tuple[Item, list[int]]


def schema(unit: Unit) -> dict[str, Any]:
    """What can be set, as a JSON schema of the arguments."""
    found: dict[str, Any] = {}
    for item in unit.settable:
        settings = item.settings
        kind = {"bool": "boolean", "string": "string"}.get(settings.kind, "number")
        about: dict[str, Any] = {"type": kind}
        if settings.names:
            about = {"enum": list(settings.names.values())}
        limits = {"minimum": settings.min, "maximum": settings.max, "unit": settings.unit or None}
        found[item.name] = about | {key: each for key, each in limits.items() if each is not None}
    return {"type": "object", "properties": found, "additionalProperties": False}


async def execute(unit: Unit, args: Mapping[str, Any], exchange: Exchange) -> Reply:
    """Set all of it, in order; the result has what was read again. Raises nothing of its own."""
    try:
        planned = [_planned(unit, name, value) for name, value in args.items()]
    except ValueError as error:
        return Reply("rejected", error=str(error))
    if not planned:
        return Reply("rejected", error=f"nothing to set; {_settable(unit)}")
    done: dict[str, Value] = {}
    for (item, words), wanted in zip(planned, args.values(), strict=True):
        try:
            await _write(unit, item, words, exchange)
            done |= await _checked(unit, item, words, wanted, exchange)
        except Unavailable as error:
            return Reply("failed", done or None, f"{item.name}: {error}")
    return Reply("ok", done)


def _planned(unit: Unit, name: str, value: Any) -> Planned:
    """Raises ValueError."""
    item = next((each for each in unit.items if each.name == name), None)
    if item is None or not item.settings.write:
        known = "cannot be set" if item is not None else "is not there"
        raise ValueError(f'"{name}" {known}; {_settable(unit)}')
    try:
        return item, item.encode(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _settable(unit: Unit) -> str:
    names = [item.name for item in unit.settable]
    return f"can be set: {', '.join(names)}" if names else "nothing of it can be set"


async def _write(unit: Unit, item: Item, words: list[int], exchange: Exchange) -> None:
    """Raises Unavailable. Of the two functions that write one value, some devices know one."""
    try:
        await exchange.ask(unit.address, write_request(item, words, many=False), unit.timeout)
    except Refused as error:
        if error.code != FUNCTION or len(words) > 1:
            raise
        await exchange.ask(unit.address, write_request(item, words, many=True), unit.timeout)


async def _checked(
    unit: Unit, item: Item, words: list[int], wanted: Any, exchange: Exchange
) -> dict[str, Value]:
    """What it has now. Raises Unavailable where that is not what was written."""
    if not item.settings.read:
        return {item.name: wanted}
    memory = await _read(unit, item, exchange)
    if _words(memory, item) != words:
        await asyncio.sleep(_AGAIN)
        memory = await _read(unit, item, exchange)
    found = item.decode(memory)
    if _words(memory, item) != words:
        has = found.get(item.name, "none")
        raise Unavailable(f"it was told {wanted} and has {has}: see whether it may be set now")
    return found or {item.name: wanted}


async def _read(unit: Unit, item: Item, exchange: Exchange) -> Memory:
    """Raises Unavailable."""
    memory: Memory = {}
    block = Block(item.table, [Part(item.address, item.settings.count, item)])
    answer = await exchange.ask(unit.address, read_request(block), unit.timeout)
    remember(memory, block, answer)
    return memory


def _words(memory: Memory, item: Item) -> list[int]:
    return [memory[item.table, item.address + n] for n in range(item.settings.count)]
