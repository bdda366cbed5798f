"""What people say of devices: names, tags, whether they are wanted; in the state database.

Of a device of which nobody has said anything nothing is kept.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any, Literal, get_args

import msgspec

from gateway.io.sqlite.database import Database, statements

_SQL = statements((files(__package__) / "abouts.sql").read_text())
State = Literal["new", "adopted", "ignored"]
STATES: tuple[State, ...] = get_args(State)
TAG = re.compile(r"[^\s,;][^,;\n]{0,63}")
"""A tag."""
_TEXT = 200
_TAGS = msgspec.json.Decoder(tuple[str, ...])
_ATTRIBUTES = msgspec.json.Decoder(dict[str, str])
_MOST = 32  # tags, and attributes, of one device


@dataclass(frozen=True, slots=True)
class About:
    """What is known of one device. name: for people. state: adopted and ignored are what somebody
    decided; readings of an ignored one are dropped."""

    name: str = ""
    state: State = "new"
    model: str = ""
    firmware: str = ""
    tags: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For the API."""
        return {
            "name": self.name or None,
            "state": self.state,
            "model": self.model or None,
            "firmware": self.firmware or None,
            "tags": list(self.tags),
            "attributes": dict(self.attributes),
        }


NOTHING = About()


def described(about: About, told: Mapping[str, Any] | None) -> dict[str, Any]:
    """The same as `as_dict`; model and firmware as the driver told them where nobody said."""
    found = about.as_dict()
    for key in ("model", "firmware"):
        found[key] = found[key] or (told or {}).get(key)
    return found


def checked(about: About) -> About:
    """The same, with tags once each. Raises ValueError for what cannot be kept."""
    for key in ("name", "model", "firmware"):
        _text(key, getattr(about, key))
    if about.state not in STATES:
        raise ValueError(f'state "{about.state}"; expected {", ".join(STATES)}')
    for tag in about.tags:
        if not TAG.fullmatch(tag) or not tag.isprintable():
            raise ValueError(f'"{tag[:80]}" is no tag: at most 64 characters without , and ;')
    tags = tuple(dict.fromkeys(tag.strip() for tag in about.tags))
    if len(tags) > _MOST or len(about.attributes) > _MOST:
        raise ValueError(f"at most {_MOST} tags, and {_MOST} attributes")
    for name, value in about.attributes.items():
        _text("the name of an attribute", name)
        _text(name, value)
    return replace(about, tags=tags)


def _text(key: str, value: str) -> None:
    if len(value) > _TEXT or not value.isprintable():
        raise ValueError(f"{key}: at most {_TEXT} printable characters")


class Abouts:
    """See the module. ignored: the devices whose readings are dropped."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ignored: set[str] = set()
        self._known: dict[str, About] = {}
        for row in database.load(lambda c: c.execute(_SQL["all"]).fetchall()):
            self._take(row[0], _about(row))

    def get(self, device: str) -> About:
        """What is known of it."""
        return self._known.get(device, NOTHING)

    async def save(self, abouts: Mapping[str, About]) -> None:
        """All of these or none; durable once it returns. Raises sqlite3.Error, OSError."""
        rows = [
            (
                device, about.name, about.state, about.model, about.firmware,
                json.dumps(about.tags), json.dumps(dict(about.attributes)),
            )
            for device, about in abouts.items()
        ]  # fmt: skip
        await self.database.write(lambda c: c.executemany(_SQL["save"], rows))
        for device, about in abouts.items():
            self._take(device, about)

    async def again(self) -> None:
        """Everything once more, for a file that is new. Raises sqlite3.Error, OSError."""
        await self.save(dict(self._known))

    async def forget(self, devices: Iterable[str]) -> None:
        """Keep nothing of these any more. Raises sqlite3.Error, OSError."""
        gone = [(device,) for device in devices]
        await self.database.write(lambda c: c.executemany(_SQL["forget"], gone))
        for (device,) in gone:
            self._known.pop(device, None)
            self.ignored.discard(device)

    def _take(self, device: str, about: About) -> None:
        self._known[device] = about
        if about.state == "ignored":
            self.ignored.add(device)
        else:
            self.ignored.discard(device)


def _about(row: tuple[Any, ...]) -> About:
    _, name, state, model, firmware, tags, attributes = row
    try:
        told = _TAGS.decode(tags), _ATTRIBUTES.decode(attributes)
    except msgspec.DecodeError:  # damaged: the device itself is not
        return NOTHING
    return About(name, state if state in STATES else "new", model, firmware, *told)
