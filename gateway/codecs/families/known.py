"""What is known of the devices of all families: bounded, for who speaks may say what it likes."""

import zlib
from typing import NamedTuple

from gateway.core.contracts import About, Names
from gateway.core.errors import DecodeError
from gateway.core.ids import slug

_MOST_DEVICES = 10_000
_MOST_FACTS = 200_000  # units, classes, commands and unread metrics of all devices
_LONGEST = 128  # characters of a name, a model …
_LONGEST_NAME = 256
_LONGEST_TOPIC = 512
_MOST_FORMS = 20_000
_LONGEST_FORM = 1_025  # characters; one that was longer is refused when it is used
_TOLD = ("name", "model", "manufacturer", "firmware")


class Words(NamedTuple):
    """How a command says on and off. json: as `state` in an object."""

    on: str
    off: str
    json: bool = False


class RunsNames:
    """Who has a name in this run."""

    def __init__(self) -> None:
        self._owners: dict[tuple[str, str], str] = {}

    def owner(self, kind: str, name: str) -> str | None:
        """See gateway.core.contracts.Names."""
        return self._owners.get((kind, name))

    def claim(self, kind: str, name: str, owner: str) -> None:
        """See gateway.core.contracts.Names."""
        if len(self._owners) < 2 * _MOST_DEVICES:
            self._owners[kind, name] = owner

    def is_known(self, original: str) -> bool:
        """See gateway.core.contracts.Names."""
        return False


class Known:
    """Devices by their original names. names: who has one that several share."""

    def __init__(self) -> None:
        self._about: dict[str, About] = {}
        self._facts = 0
        self.names: Names = RunsNames()
        self._names_now = RunsNames()  # of those that are told apart by what does not last
        self._written: dict[str, str] = {}
        self._meant: dict[str, str] = {}  # the other way round, where it is another one
        self._words: dict[tuple[str, str], Words] = {}
        self._forms: dict[tuple[str, str], str] = {}

    def get(self, device: str) -> About | None:
        """A device; None where nothing is known of it."""
        return self._about.get(self._meant.get(device, device))

    def gone(self) -> list[str]:
        """Devices that are not there, by their own or their last will's word."""
        return [name for name, about in self._about.items() if about.online is False]

    def called(self, name: str, family: str) -> str:
        """What a family's device of that name is called: so, or `name (family)` where a device of
        another family has that name already."""
        plain = self.written(name)
        if self.names.owner("family", plain) == family:  # nearly always, and for each message
            return name
        other = f"{plain} ({family})"
        return name if _has(self.names, "family", plain, family, other) else other

    def of(self, name: str, family: str) -> About:
        """A family's device; a new one if there is room. Raises DecodeError with reason too_many or
        device."""
        if not name or len(name) > _LONGEST_NAME:
            raise DecodeError("a device without a name, or with too long a one", reason="device")
        about = self.one(self.called(name, family), family)
        about.family = family  # also where it was announced besides, and that came first
        return about

    def one(self, device: str, family: str) -> About:
        """A device by what it is called, whoever has told of it. Raises as `of`."""
        about = self._about.get(device)
        if about is None:
            if not device or len(device) > _LONGEST_NAME:
                raise DecodeError(
                    "a device without a name, or with too long a one", reason="device"
                )
            if len(self._about) >= _MOST_DEVICES:
                raise DecodeError(f"more than {_MOST_DEVICES} devices", reason="too_many")
            about = self._about[device] = About(family)
        return about

    def written(self, device: str) -> str:
        """A device's name, or another one where no id could be made of it (`датчик`); that one is
        the same for ever."""
        found = self._written.get(device)
        if found is None:
            found = device if slug(device) else f"device-{zlib.crc32(device.encode()):08x}"
            if len(self._written) >= _MOST_DEVICES:
                return found
            self._written[device] = found
            if found != device:
                self._meant[found] = device
        return found

    def named(self, name: str, key: str, lasting: bool = True) -> str:
        """`name`, or `name key` where another key has that name already. lasting: whether the
        device has this key for ever."""
        if max(len(name), len(key)) > _LONGEST_NAME:
            return name  # which is refused
        names = self.names if lasting else self._names_now
        plain, other = self.written(name), f"{name} {key}"
        return name if _has(names, "key", plain, key, self.written(other)) else other

    def tell(self, about: About, **facts: object) -> None:
        """Its name, model, manufacturer or firmware; nothing of what is no such text."""
        for fact in _TOLD:
            given = facts.get(fact)
            if isinstance(given, str) and given.isprintable() and 0 < len(given) <= _LONGEST:
                setattr(about, fact, given)

    def measure(self, about: About, metric: str, unit: object = "", kind: object = "") -> None:
        """A metric's unit and device class, where they are such."""
        if unit and about.units.get(metric) != unit:
            self._note(about.units, metric, unit)
        if kind and about.classes.get(metric) != kind:
            self._note(about.classes, metric, kind)

    def command(self, about: About, name: str, topic: str) -> None:
        """The topic on which a command is given."""
        if about.commands.get(name) != topic:
            self._note(about.commands, name, topic, _LONGEST_TOPIC)

    def said(self, device: str, name: str, words: Words) -> None:
        """How a device's command says on and off, where that is not as its family does."""
        there = (device, name) in self._words or len(self._words) < _MOST_DEVICES
        if there and max(len(words.on), len(words.off)) <= _LONGEST:
            self._words[device, name] = words

    def words_of(self, device: str, name: str) -> Words | None:
        """What `said` was told."""
        return self._words.get((self._meant.get(device, device), name))

    def formed(self, device: str, name: str, form: str) -> bool:
        """The template in which a device wants a command's value, "" for none; False where there is
        no room for it."""
        if not form:
            self._forms.pop((device, name), None)
        elif (device, name) in self._forms or len(self._forms) < _MOST_FORMS:
            self._forms[device, name] = form[:_LONGEST_FORM]
        else:
            return False
        return True

    def form_of(self, device: str, name: str) -> str:
        """What `formed` was told."""
        return self._forms.get((self._meant.get(device, device), name), "")

    def unread(self, about: About, metric: str, why: str) -> bool:
        """A metric that cannot be read, and why; True where that is new."""
        if metric in about.unread:
            return False
        self._note(about.unread, metric, why, _LONGEST_TOPIC)
        return metric in about.unread

    def readable(self, about: About, metric: str) -> None:
        """A metric can be read after all."""
        if about.unread.pop(metric, None) is not None:
            self._facts -= 1

    def _note(self, facts: dict[str, str], key: str, fact: object, most: int = _LONGEST) -> None:
        if not isinstance(fact, str) or not fact.isprintable() or len(fact) > most:
            return
        if key not in facts:
            if self._facts >= _MOST_FACTS or len(key) > _LONGEST:
                return
            self._facts += 1
        facts[key] = fact


def _has(names: Names, kind: str, name: str, owner: str, other: str) -> bool:
    """Whether a name is this owner's or, from now on, can be; else it is called `other`. Both as
    they are written: so they are known in the registry."""
    found = names.owner(kind, name)
    if found is None:
        # Nobody wrote down who has the name, but this one was known by the other name already.
        if names.owner(kind, other) is None and names.is_known(other):
            return False
        names.claim(kind, name, owner)
    return found in (None, owner)
