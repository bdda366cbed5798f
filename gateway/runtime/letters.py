"""Dead letters as an operator sees them, and what becomes of those that are tried again.

A letter of a bridge is sent through that bridge once more; one of a source is decoded once more,
with the codec as it is configured now, and journalled like what comes in.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.bus.gather import Entry
from gateway.core.contracts import Burst, Reading
from gateway.runtime.again import Retried, historical
from gateway.runtime.delivery import Delivery
from gateway.runtime.intake import BACKLOG, Intake
from gateway.store.dead_letters import DeadLetter, DeadLetters

MOST = 500
"""How many dead letters one request tries again."""


class Letters:
    """The dead letters of one gateway."""

    def __init__(
        self,
        store: DeadLetters,
        intakes: Mapping[str, Intake],
        deliveries: Mapping[str, Delivery],
    ) -> None:
        self._store = store
        self._intakes = intakes
        self._deliveries = deliveries

    async def show(self, name: str | None, limit: int, before: int) -> dict[str, Any]:
        """`groups` by reason and device, and the newest `letters` one by one. Raises LookupError
        if `name` is no bridge and no source."""
        stage = self._stage(name) if name is not None else None
        letters = await self._store.list(name, limit, before, stage)
        return {
            "groups": await self._store.groups(name, stage),
            "letters": [letter.as_dict() for letter in letters],
        }

    async def retry(self, name: str, ids: Sequence[int], after: int) -> dict[str, Any]:
        """Try those with these ids again, or without ids the oldest MOST above `after`.

        taken: how many are letters no longer. kept: why the others stay, each with its id. next:
        `after` for the next request, None at the end. Raises LookupError, Conflict, Unavailable.
        """
        stage = self._stage(name)
        if ids:
            letters = await self._store.chosen(stage, name, ids)
            missing = sorted(set(ids) - {letter.id for letter in letters})
            if missing:
                raise LookupError(f"{name} has no dead letter {missing[0]}")
        else:
            letters = await self._store.after(stage, name, after, MOST)
        found = Retried()
        if letters and stage == "deliver":
            found = await self._deliveries[name].retry_letters(letters)
        elif letters:
            found = await self._decoded(self._intakes[name], letters)
        return {
            "taken": len(found.taken),
            "kept": [{"id": number, "reason": why} for number, why in found.kept.items()],
            "next": letters[-1].id if not ids and len(letters) == MOST else None,
        }

    def _stage(self, name: str) -> str:
        if name in self._deliveries:
            return "deliver"
        if name in self._intakes:
            return "decode"
        known = ", ".join((*self._deliveries, *self._intakes))
        raise LookupError(f'no bridge and no source "{name}"; there are {known}')

    async def _decoded(self, intake: Intake, letters: Sequence[DeadLetter]) -> Retried:
        found, readings = Retried(), list[Reading]()
        decoder = intake.decoder.past()
        for letter in letters:
            if letter.size > len(letter.payload):
                kept = f"only {len(letter.payload)} of its {letter.size} bytes were kept"
                found.kept[letter.id] = kept
                continue
            burst = Burst(letter.time, [letter.topic], [letter.payload])
            decoded = decoder.decode(burst)
            if decoded.bad:
                found.kept[letter.id] = decoded.bad[0].detail
            else:
                readings += map(historical, decoded.readings)
                found.taken.append(letter.id)
        await self._journal(intake, readings)
        await self._store.delete(found.taken)
        await self._store.again(found.kept)
        return found

    async def _journal(self, intake: Intake, readings: Sequence[Reading]) -> None:
        """Returns once they are durable: only then may their letters go."""
        bus = intake.services.bus
        await bus.room(BACKLOG)
        durable = asyncio.get_running_loop().create_future()
        bus.publish(Entry(readings, gather=0.0, done=lambda: durable.set_result(None)))
        await asyncio.shield(durable)
