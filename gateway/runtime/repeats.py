"""Frames that a broker sends again after a reconnect, told from those we never had.

MQTT 3.1.1 section 4.4: after a reconnect the sender re-sends what was not acknowledged, with the
original packet id and DUP set. A frame with DUP is a repeat if its packet id and hash are among
the frames journalled last. Duplicates that a device makes itself carry no DUP and are passed on.
"""

from array import array
from collections import deque
from collections.abc import Iterable, Sequence

from gateway.bus.records import RepeatKeys


class Repeats:
    """The frames of one source that were journalled last: at least `window` of them. Kept as they
    came, and looked through once one is said to be a repeat, which is rare."""

    def __init__(self, window: int, earlier: Iterable[RepeatKeys] = ()) -> None:
        self._window = window
        self._bursts: deque[tuple[array[int], array[int]]] = deque()
        self._count = 0
        self._known: dict[int, int] | None = None  # hashes by packet id, while they are asked for
        for keys in earlier:
            self._remember(array("H", keys.packet_ids), array("I", keys.hashes))

    def forget(self) -> None:
        """The other side has: its packet ids begin again, and one of them with the same payload
        would be taken for what it was in the session before."""
        self._bursts.clear()
        self._count, self._known = 0, None

    def among(
        self, repeats: Sequence[bool], packet_ids: Sequence[int], hashes: Sequence[int]
    ) -> list[bool]:
        """For each frame whether it is a repeat of one that was journalled."""
        if self._known is None:
            self._known = {}
            for ids, values in self._bursts:
                self._known.update(zip(ids, values, strict=True))
        known = self._known.get
        return [
            repeat and packet_id != 0 and known(packet_id) == value
            for repeat, packet_id, value in zip(repeats, packet_ids, hashes, strict=True)
        ]

    def remember(
        self, source: str, packet_ids: Sequence[int], hashes: Sequence[int]
    ) -> RepeatKeys | None:
        """Note frames that are being journalled; what to keep of them in the block."""
        if 0 in packet_ids:
            pairs = [(p, h) for p, h in zip(packet_ids, hashes, strict=True) if p]
            packet_ids, hashes = [p for p, _ in pairs], [h for _, h in pairs]
        ids, values = array("H", packet_ids), array("I", hashes)
        if not ids:
            return None
        self._remember(ids, values)
        return RepeatKeys(source, ids.tobytes(), values.tobytes())

    def _remember(self, packet_ids: "array[int]", hashes: "array[int]") -> None:
        self._bursts.append((packet_ids, hashes))
        self._count += len(packet_ids)
        while self._count - len(self._bursts[0][0]) >= self._window:
            self._count -= len(self._bursts.popleft()[0])
        if self._known is not None:
            self._known.update(zip(packet_ids, hashes, strict=True))
            if len(self._known) > 2 * self._window:  # of frames that are forgotten by now
                self._known = None
