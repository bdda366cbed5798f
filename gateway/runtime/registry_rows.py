"""The device registry as rows of a table: out for people's spreadsheets, and in again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.core.errors import DecodeError
from gateway.runtime.managing import Managing
from gateway.store.abouts import About, checked
from gateway.store.devices import IMPORTED, Devices

COLUMNS = (
    "id", "source", "original", "name", "state", "model", "firmware", "tags", "attributes",
    "first_seen", "last_seen", "readings",
)  # fmt: skip
"""What is told of each device. Those from first_seen on cannot be set."""
SETTABLE = COLUMNS[:9]
"""What a row that comes in may hold."""
_TEXTS = ("name", "state", "model", "firmware")

Row = Mapping[str, str]


class RegistryRows:
    """See the module."""

    def __init__(self, devices: Devices, managing: Managing) -> None:
        self._devices = devices
        self._managing = managing

    def rows(self, offset: int, limit: int) -> list[list[str]]:
        """Some devices, in the order they were met; times in epoch ms."""
        return [
            self._row(device.as_dict() | self._devices.abouts.get(device.id).as_dict())
            for device in self._devices.list()[offset : offset + limit]
        ]

    def _row(self, told: dict[str, Any]) -> list[str]:
        told["tags"] = ";".join(told["tags"])
        told["attributes"] = ";".join(f"{key}={value}" for key, value in told["attributes"].items())
        return ["" if told[column] is None else str(told[column]) for column in COLUMNS]

    async def take(self, rows: Sequence[tuple[int, Row]], check: bool) -> dict[str, Any]:
        """Rows with the numbers of their lines: the good ones are kept, all in one transaction; of
        the others `bad` says why. check: nothing is changed. Raises Unavailable."""
        changes: dict[str, dict[str, Any]] = {}
        bad: list[tuple[int, str]] = []
        added: set[tuple[str, str]] = set()
        new: list[tuple[int, Row, dict[str, Any]]] = []
        for line, row in rows:
            try:
                wanted = _wanted(row)
                device = self._known(row)
                if device is None:
                    new.append((line, row, wanted))
                    continue
                changes.setdefault(device, {}).update(wanted)
            except (ValueError, DecodeError) as error:
                bad.append((line, str(error)))
        for line, row, wanted in new:
            try:
                self._may_be(row)
                if not check:
                    device = self._devices.id_of(row["original"], row["source"])
                    changes.setdefault(device, {}).update(wanted)
                added.add((row["source"], row["original"]))
            except (ValueError, DecodeError) as error:
                bad.append((line, str(error)))
        if not check:
            await self._devices.settle()
            await self._managing.change_all(changes)
        return {"taken": len(rows) - len(bad), "added": len(added), "bad": sorted(bad)}

    def _known(self, row: Row) -> str | None:
        """The device that a row is about; None for one that it makes. Raises ValueError."""
        device, source, original = (row.get(key, "") for key in SETTABLE[:3])
        found = self._devices.find(original, source) if source and original else None
        if found is not None:
            if device and device != found:
                raise ValueError(f'{source} knows "{original}" as {found}, not as {device}')
            return found
        if device and self._devices.knows(device):
            if not (source or original):
                return device
            known = self._devices.get(device)
            if (source or known.source, original or known.original) == (
                known.source, known.original,
            ):  # fmt: skip
                return device
            raise ValueError(f'{device} is "{known.original}" of {known.source}')
        if not (source and original):
            what = f'no device "{device}"' if device else "neither id nor source and original"
            raise ValueError(f"{what}; for one that is new give source and original")
        return None

    def _may_be(self, row: Row) -> None:
        """Whether a row can make a device. Raises ValueError."""
        source, original, wanted = row["source"], row["original"], row.get("id", "")
        # A device with imported history only waits for whoever comes under its name.
        if source not in self._managing.sources and source != IMPORTED:
            known = ", ".join(sorted(self._managing.sources)) or "none"
            raise ValueError(f'no source "{source[:64]}" is configured; there are {known}')
        given = self._devices.would_be(original)
        if not given:
            raise ValueError(f'"{original}" leaves no id of [a-z0-9_-]')
        if wanted and given != wanted:
            raise ValueError(f'"{original}" would be {given}, not {wanted}')


def _wanted(row: Row) -> dict[str, Any]:
    """What a row says of its device. Raises ValueError."""
    if unknown := [key for key in row if key not in COLUMNS]:
        raise ValueError(f'no column "{unknown[0]}"; known: {", ".join(SETTABLE)}')
    wanted: dict[str, Any] = {key: row[key] for key in _TEXTS if key in row}
    if wanted.get("state") == "":
        del wanted["state"]
    if "tags" in row:
        wanted["tags"] = tuple(filter(None, map(str.strip, row["tags"].split(";"))))
    if "attributes" in row:
        wanted["attributes"] = dict(_pairs(row["attributes"]))
    checked(replace(About(), **wanted))
    return wanted


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for each in filter(None, map(str.strip, text.split(";"))):
        key, sign, value = each.partition("=")
        if not (key and sign):
            raise ValueError(f'attributes: "{each}" is no key=value')
        yield key, value
