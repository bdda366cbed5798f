"""Taking what is read from the journal in tables: columns go into columns, a stream at a time."""

from collections import Counter

from gateway.bus.table import Part, Table
from gateway.store.buffers import BASE, NOWHERE, Buffer, Stream
from gateway.store.taking import MOST_SETS, Taking


class TakingTables(Taking):
    """The part of History that takes tables."""

    def add_table(self, table: Table) -> None:
        """Take a table's readings; what that gives is what `add` gives of them."""
        if self._is_crowded(table):
            for sequence, reading in table.readings():
                self._add(sequence, reading, NOWHERE, careful=True)
        else:
            self._send([filled for part in table.parts for filled in self._add_part(part)])
            for sequence, reading in table.others:
                self._add(sequence, reading, NOWHERE, careful=self._salvaged)
        self._has_read(table.end)

    def _is_crowded(self, table: Table) -> bool:
        """Whether a device may have too many sets of metrics with it: where a set is taken apart,
        samples of several come to one stream, and their order must be kept."""
        keys = [(part.device, part.names) for part in table.parts]
        keys += {(reading.device, tuple(reading.values)) for _, reading in table.others}
        new = Counter(device for device, names in keys if (device, names) not in self._streams)
        return any(self._sets.get(each, 0) + count > MOST_SETS for each, count in new.items())

    def _add_part(self, part: Part) -> list[tuple[Stream, Buffer]]:
        """Take it; the buffers that were filled, sealed."""
        key = (part.device, part.names)
        stream = self._streams.get(key) or self._know(Stream(key))
        if stream.kept or stream.claims:
            for sequence, reading in part.readings():
                self._add(sequence, reading, NOWHERE, careful=True)
            return []
        self._size += 8 * len(part.times) * (1 + len(part.names))
        self._size += BASE if stream.open is None else 0
        return [(stream, buffer) for buffer in stream.extend(part)]
