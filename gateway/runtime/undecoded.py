"""What could not be decoded, on its way to the store of dead letters."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

from gateway.core.events import DeadLettered, Event
from gateway.runtime.decoded import Bad
from gateway.runtime.refusals import Refusals
from gateway.store.dead_letters import DeadLetter, DeadLetters


class Undecoded:
    """One source's. All that came while the last ones were written are written together, and
    nobody waits for it but whoever is told: a flood of bad frames delays no good one."""

    def __init__(
        self, source: str, store: DeadLetters, refusals: Refusals, emit: Callable[[Event], None]
    ) -> None:
        self._source = source
        self._store = store
        self._refusals = refusals
        self._emit = emit
        self._pending: list[tuple[Sequence[Bad], int, Callable[[], None]]] = []
        self._writing: asyncio.Task[None] | None = None

    def put(self, bad: Sequence[Bad], received: int, kept: Callable[[], None]) -> None:
        """Keep these; `kept` is called once they are on disk. Raises what kept earlier ones from
        being written, if that was no trouble with the disk: such a source is started again."""
        self._pending.append((bad, received, kept))
        if self._writing is None or self._writing.done():
            if self._writing is not None:
                self._writing.result()
            self._writing = asyncio.create_task(self._write(), name=f"undecoded {self._source}")

    async def _write(self) -> None:
        while self._pending:
            chosen, self._pending = self._pending, []
            letters = [self._letter(each, when) for bad, when, _ in chosen for each in bad]
            await self._store.keep(letters)
            for _, _, kept in chosen:
                kept()
            for reason, count in Counter(letter.reason for letter in letters).items():
                example = next(letter for letter in letters if letter.reason == reason)
                self._refusals.note(reason, count, example.device or example.topic[:256])
                self._emit(
                    DeadLettered(kind="device", name=self._source, reason=reason, count=count)
                )

    def _letter(self, bad: Bad, received: int) -> DeadLetter:
        return DeadLetter(
            stage="decode",
            name=self._source,
            reason=bad.reason,
            detail=bad.detail,
            device=bad.device,
            topic=bad.topic,
            payload=bad.payload,
            time=received,
        )
