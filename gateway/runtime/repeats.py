"""Frames that a broker sends again after a reconnect, told from those we never had.

MQTT 3.1.1 section 4.4: after a reconnect the sender re-sends what was not acknowledged, with the
original packet id and DUP set. A frame with DUP is a repeat if its packet id and hash are among
the frames journalled last. Duplicates that a device makes itself carry no DUP and are passed on.
"""

from array import array
from collections.abc import Iterable, Sequence

from gateway.bus.records import RepeatKeys


class Repeats:
    """The frames of one source that were journalled last: at least `window` of them."""

    def __init__(self, window: int, earlier: Iterable[RepeatKeys] = ()) -> None:
        self._window = window
        self._recent: dict[int, int] = {}
        self._older: dict[int, int] = {}
        for keys in earlier:
            self._remember(array("H", keys.packet_ids), array("I", keys.hashes))

    def forget(self) -> None:
        """The other side has: its packet ids begin again, and one of them with the same payload
        would be taken for what it was in the session before."""
        self._recent, self._older = {}, {}

    def among(
        self, repeats: Sequence[bool], packet_ids: Sequence[int], hashes: Sequence[int]
    ) -> list[bool]:
        """For each frame whether it is a repeat of one that was journalled."""
        return [
            repeat and packet_id != 0 and self._known(packet_id) == value
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

    def _known(self, packet_id: int) -> int | None:
        known = self._recent.get(packet_id)
        return self._older.get(packet_id) if known is None else known

    def _remember(self, packet_ids: "array[int]", hashes: "array[int]") -> None:
        if len(self._recent) >= self._window:
            self._older, self._recent = self._recent, {}
        self._recent.update(zip(packet_ids, hashes, strict=True))
