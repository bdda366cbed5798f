"""Units on a line that are read again and again, in turn.

A unit that does not answer is asked ever more rarely, and those that do not answer take a small
share of the line's time together, however many they are: others must not become slower by them.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymodbus.pdu import ModbusPDU

from gateway.core.contracts import Value
from gateway.core.errors import Unavailable
from gateway.io.modbus.exchange import FUNCTION, Exchange, NoAnswer, Refused
from gateway.io.modbus.plan import Block, Group, Item, Memory
from gateway.io.modbus.requests import read_request, remember

log = logging.getLogger(__name__)

_SLOWEST = (
    10.0  # a unit that does not answer is asked so often at least, while it has its share (s)
)
_SHARE = 0.05  # of the line's time, for units that do not answer, while others do
_AGAIN = 600.0  # what a unit refused is asked for again after (s): it may have been changed
_UNHEARD = 3  # requests without a byte in answer, after which a connection is made anew

Put = Callable[[str, dict[str, Value], int], Awaitable[None]]


@dataclass(slots=True, eq=False)
class Unit:
    """A device at an address of the line. items: all its values. timeout: s. away: why it does not
    answer, or "". last: when it did (ns), 0: never."""

    device: str
    address: int
    model: str
    items: Sequence[Item]
    groups: list[Group]
    timeout: float
    away: str = ""
    misses: int = 0
    due: float = 0.0  # when it is asked again while it is away (s, of the loop)
    mend: float = 0.0  # when what it refused is asked for again, 0: it refused nothing
    refused: dict[str, str] = field(default_factory=dict)
    answered: int = 0
    unanswered: int = 0
    last: int = 0

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.device} (unit {self.address})"

    @property
    def settable(self) -> list[Item]:
        """What of it can be set."""
        return [item for item in self.items if item.settings.write]

    @property
    def units(self) -> dict[str, str]:
        """Unit by metric."""
        return {item.name: item.settings.unit for item in self.items if item.settings.unit}

    @property
    def concern(self) -> str:
        """What is wrong with it, or ""."""
        if self.away:
            return f"{self.name}: {self.away}"
        refused = [f"{self.name}: {what}: {why}" for what, why in self.refused.items()]
        more = f", and {len(refused) - 1} more" if len(refused) > 1 else ""
        return refused[0] + more if refused else ""

    def details(self) -> dict[str, Any]:
        """For the status."""
        return {
            "device": self.device,
            "unit": self.address,
            "model": self.model or None,
            "requests": sum(len(group.blocks) for group in self.groups),
            "answered": self.answered,
            "unanswered": self.unanswered,
            "skipped": sum(group.skipped for group in self.groups),
            "refused": dict(self.refused),
            "trouble": self.away or None,
            "last": self.last // 1_000_000 or None,
        }


class Units:
    """See the module. up: set while the line is there. put: takes the values of a device, and when
    they were read (ns); waits while they cannot be stored. retries: how often a request is made
    again at once. changed: called when a unit goes or comes. drop: makes the connection anew."""

    def __init__(
        self,
        name: str,
        units: Sequence[Unit],
        exchange: Exchange,
        up: asyncio.Event,
        put: Put,
        retries: int,
        changed: Callable[[], None],
        drop: Callable[[], None],
    ) -> None:
        self._name = name
        self._units = units
        self._exchange = exchange
        self._up = up
        self._put = put
        self._retries = retries
        self._changed = changed
        self._drop = drop
        self._probe = 0.0  # no unit that is away is asked before that while others are not
        self._woken = asyncio.Event()

    @property
    def trouble(self) -> str:
        """Why nothing comes: no unit answers."""
        away = [unit for unit in self._units if unit.away]
        return away[0].concern if away and len(away) == len(self._units) else ""

    @property
    def concern(self) -> str:
        """Units that do not answer, and what others refuse."""
        return "; ".join(filter(None, (unit.concern for unit in self._units)))

    def renew(self) -> None:
        """The line is there again: everybody is asked at once."""
        now = asyncio.get_running_loop().time()
        for unit in self._units:
            unit.due = now
            for group in unit.groups:
                group.due = max(group.due, now)
        self._woken.set()

    async def run(self) -> None:
        """Read until cancelled."""
        loop = asyncio.get_running_loop()
        for unit in self._units:
            for group in unit.groups:
                group.due = loop.time()
        while any(unit.groups for unit in self._units):
            await self._up.wait()
            unit, group, due = self._next()
            if (wait := due - loop.time()) > 0:
                await self._pause(wait)
                continue
            await self._read(unit, group)
        await asyncio.Event().wait()  # there is nothing to read: all of it can only be set

    async def _pause(self, seconds: float) -> None:
        self._woken.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return

    def _next(self) -> tuple[Unit, Group, float]:
        """Who is to be asked next for what, and when (s, of the loop)."""
        others = any(unit.groups and not unit.away for unit in self._units)
        wanted = []
        for unit in filter(lambda each: each.groups, self._units):
            group = min(unit.groups, key=lambda each: each.due)
            if not unit.away:
                wanted.append((group.due, unit, group))
            else:
                wanted.append((max(unit.due, self._probe) if others else unit.due, unit, group))
        # Of those that are away, who was not asked for longest: else it would always be the first.
        due, unit, group = min(wanted, key=lambda each: (each[0], each[1].due))
        return unit, group, due

    async def _read(self, unit: Unit, group: Group) -> None:
        """What is read together, as far as it can be."""
        loop = asyncio.get_running_loop()
        if unit.mend and loop.time() >= unit.mend:
            _mend(unit)
        if unit.away and not group.blocks:
            # All of it was refused; something has to be asked, to hear when it is back.
            _mend(unit)
        memory: Memory = {}
        work = deque(group.blocks)
        while work:
            block = work.popleft()
            try:
                await self._block(unit, block, memory)
            except Refused as error:
                work.extendleft(reversed(self._refused(unit, group, block, error)))
            except Unavailable:
                break
        if values := group.decode(memory):
            await self._put(unit.device, values, unit.last)
        if not unit.away:
            group.next(loop.time())

    async def _block(self, unit: Unit, block: Block, memory: Memory) -> None:
        """One request. Raises Refused, or Unavailable."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            answer = await self._ask(unit, lambda: read_request(block))
        except Refused:
            self._answered(unit)
            raise
        except NoAnswer as error:
            if self._up.is_set():
                self._missed(unit, str(error), loop.time() - began)
            raise
        self._answered(unit)
        remember(memory, block, answer)
        if unit.refused:
            for what in (block.text, *_names(block)):
                unit.refused.pop(what, None)

    async def _ask(self, unit: Unit, request: Callable[[], ModbusPDU]) -> ModbusPDU:
        """Raises Refused, NoAnswer or Unavailable."""
        tries = 0 if unit.away else self._retries
        while True:
            try:
                return await self._exchange.ask(unit.address, request(), unit.timeout)
            except NoAnswer:
                if self._exchange.unheard >= _UNHEARD:
                    self._exchange.unheard = 0
                    self._drop()
                if not tries or not self._up.is_set():
                    raise
                tries -= 1

    def _answered(self, unit: Unit) -> None:
        unit.answered += 1
        unit.last = time.time_ns()
        unit.misses = 0
        if not unit.away:
            return
        log.warning("device %s: %s answers again", self._name, unit.name)
        unit.away = ""
        now = asyncio.get_running_loop().time()
        for group in unit.groups:
            group.due = now
        self._changed()

    def _missed(self, unit: Unit, reason: str, took: float) -> None:
        unit.unanswered += 1
        unit.misses += 1
        now = asyncio.get_running_loop().time()
        unit.due = now + min(unit.timeout * 2.0 ** min(unit.misses, 20), _SLOWEST)
        before, unit.away = unit.away, reason
        if before:
            self._probe = now + took * (1 / _SHARE - 1)
        else:
            log.warning("device %s: %s: %s", self._name, unit.name, reason)
            self._changed()

    def _refused(self, unit: Unit, group: Group, block: Block, error: Refused) -> list[Block]:
        """What is to be asked instead: halves, to find what it is that the unit does not have."""
        if not error.lasting:
            self._tell(unit, block.text, str(error))
            return []
        unit.mend = unit.mend or asyncio.get_running_loop().time() + _AGAIN
        if error.code == FUNCTION:
            group.blocks.remove(block)
            self._tell(unit, block.text, f"{error}; use another table in the map")
            return []
        if halves := group.split(block):
            return halves
        why = f"{block.text}: {error}; compare table and address with the maker's list (does it "
        why += "count from 0 or from 1?), or leave it out"
        for what in _names(block):
            self._tell(unit, what, why)
        return []

    def _tell(self, unit: Unit, what: str, why: str) -> None:
        """Once, and again only after it was well."""
        if unit.refused.get(what) != why:
            log.warning("device %s: %s: %s: %s", self._name, unit.name, what, why)
        unit.refused[what] = why


def _mend(unit: Unit) -> None:
    """Ask for everything again, some time after something was refused."""
    unit.mend = 0.0
    for group in unit.groups:
        group.mend()


def _names(block: Block) -> list[str]:
    """Its values, each once."""
    return list(dict.fromkeys(part.item.name for part in block.parts))
