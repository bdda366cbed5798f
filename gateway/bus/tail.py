"""The blocks committed last, decoded: whoever keeps up never reads the disk."""

import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable
from itertools import islice

from gateway.bus.block import Block

_BYTES = 4_000_000  # as received; decoded they are several times as many
_READINGS = 20_000
_SECONDS = 5.0  # whoever is further behind than this does not keep up


class Tail:
    """Bounded in readings, bytes and time; the newest block always stays."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._blocks: deque[Block] = deque()
        self._weights: deque[tuple[float, int]] = deque()  # when each came, its bytes as received
        self._readings = 0
        self._bytes = 0
        self._clock = clock

    @property
    def start(self) -> int | None:
        """The sequence of its first reading; None while nothing was committed."""
        return self._blocks[0].first if self._blocks else None

    def add(self, block: Block, size: int) -> None:
        """A block was committed. size: bytes as received."""
        now = self._clock()
        self._blocks.append(block)
        self._weights.append((now, size))
        self._readings += len(block.readings)
        self._bytes += size
        while len(self._blocks) > 1 and (
            self._readings > _READINGS
            or self._bytes > _BYTES
            or self._weights[0][0] < now - _SECONDS
        ):
            self._readings -= len(self._blocks.popleft().readings)
            self._bytes -= self._weights.popleft()[1]

    def find(self, sequence: int, resolved: Callable[[Block], Block]) -> Block | None:
        """The block that holds `sequence`, which is not below `start`, or the next one there is;
        None behind the last one. resolved: puts times right, for good."""
        number = bisect_right(self._blocks, sequence, key=lambda block: block.first) - 1
        if sequence >= self._blocks[number].end:
            number += 1
        if number >= len(self._blocks):
            return None
        self._blocks[number] = resolved(self._blocks[number])
        return self._blocks[number]

    def since(self, sequence: int) -> list[Block]:
        """The blocks from the one that begins with `sequence` on; none where none does."""
        number = bisect_left(self._blocks, sequence, key=lambda block: block.first)
        found = list(islice(self._blocks, number, None))
        return found if found and found[0].first == sequence else []

    def first(self) -> Block:
        """The oldest block in it."""
        return self._blocks[0]
