"""Families of devices: what each vendor's payloads become. The payloads are of the shapes that the
vendors document, with values of our own; see docs/devices/families.md."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.codecs.families import FamiliesCodec
from gateway.codecs.json import JsonCodec

GOLDEN = Path(__file__).parent / "golden"
FAMILIES = sorted(GOLDEN.glob("*.json"))
NOW = 1_763_680_000_000_000_000
SHOWN = ("name", "model", "manufacturer", "firmware", "online", "units", "classes", "commands",
         "unread")  # fmt: skip


def own(topic: str) -> bool:
    return topic.startswith("devices/")


class House:
    """A codec with what it wants to listen to."""

    def __init__(self) -> None:
        self.listened: set[str] = set()
        self.codec = FamiliesCodec(JsonCodec(), own, self._listen)

    def _listen(self, topic: str, wanted: bool) -> None:
        (self.listened.add if wanted else self.listened.discard)(topic)

    def hears(self, topic: str, payload: Any) -> list[dict[str, Any]]:
        """The readings of a message; an object is written as JSON."""
        raw = payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()
        found = []
        for device, time, values in self.codec.addressed(topic, "own", raw, NOW):
            when = {} if time is None else {"time": time / 10**6}
            found.append({"device": device, **when, "values": values})
        return found

    def about(self, device: str) -> dict[str, Any]:
        """What is known of a device."""
        known = self.codec.about(device)
        assert known is not None, device
        told = {key: getattr(known, key) for key in SHOWN}
        return {key: value for key, value in told.items() if value not in ("", {}, None)}


@pytest.mark.parametrize("file", FAMILIES, ids=lambda file: file.stem)
def test_what_vendors_document_becomes_what_is_expected(file: Path) -> None:
    house, recorded = House(), json.loads(file.read_text())
    assert len(recorded["messages"]) >= 10
    for message in recorded["messages"]:
        found = house.hears(message["topic"], message["payload"])
        assert found == message["readings"], message["topic"]
        for reading in found:
            house.about(reading["device"])
    for device, about in recorded["devices"].items():
        assert house.about(device) == about, device
    assert house.listened == set(recorded.get("listens", []))


def test_every_family_is_there() -> None:
    assert len(FAMILIES) == 11
