"""Home Assistant finds the devices that do not speak MQTT themselves, and the gateway's health.

One retained message for each device says which values it has, in which units, and where they are
published (https://www.home-assistant.io/integrations/mqtt, "Device discovery payload"). What was
said is remembered in a file, so that it can be taken back, also after a restart.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import msgspec

from gateway import __version__
from gateway.core.contracts import Value
from gateway.core.topics import Topics
from gateway.runtime.announce import Announcer
from gateway.runtime.entities import entity, key_of
from gateway.runtime.house import House

log = logging.getLogger(__name__)

_STATUS = "homeassistant/status"  # where it says that it has started: tell it everything again
_EVERY = 2.0  # how often is looked whether a device has something new to it (s)
_LEVELS = ["EXCELLENT", "GOOD", "WARNING", "CRITICAL", "FAILED", "UNKNOWN"]
_GATEWAY = "gateway"
_AVAILABLE = "{{ 'offline' if value_json.state == 'offline' else 'online' }}"


class Speechless(Protocol):
    """The devices that we speak for."""

    def devices(self) -> set[str]:
        """Their ids."""
        ...

    async def info(self, device: str) -> Mapping[str, Any]:
        """What one of them is."""
        ...


class HomeAssistant:
    """Says what there is, and takes it back. wanted: whether it is to be said at all; file: where
    is kept what was said."""

    def __init__(
        self,
        house: House,
        announcer: Announcer,
        own: Speechless,
        file: Path,
        wanted: bool,
    ) -> None:
        self._house = house
        self._announcer = announcer
        self._own = own
        self._born = asyncio.Event()
        self._file = file
        self._wanted = wanted
        self._said: set[str] = set()  # ids; of this run or an earlier one
        self._seen: dict[str, tuple[int, int]] = {}  # how much of a device was said
        self._kinds: dict[str, dict[str, Value]] = {}  # a value of each metric

    async def run(self) -> None:
        """Until it is cancelled; where it is not wanted, until what was said is taken back."""
        self._said = await asyncio.to_thread(self._read)
        if not self._wanted:
            await self._keep(set())
            return
        self._announcer.listen(_STATUS, partial(self._heard, asyncio.get_running_loop()))
        self._say(_GATEWAY, _health(self._house.topics))
        while True:
            self._born.clear()
            await self._look()
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY):
                    await self._born.wait()
                self._seen.clear()
                self._say(_GATEWAY, _health(self._house.topics))

    def _heard(self, loop: asyncio.AbstractEventLoop, payload: bytes) -> None:
        """What it says; in the network thread."""
        if payload == b"online":
            loop.call_soon_threadsafe(self._born.set)

    async def _look(self) -> None:
        """Say what is new, and take back what is gone."""
        devices = self._own.devices()
        for device in devices:
            if self._house.devices_.knows(device):  # it may have left while another was asked
                await self._tell(device)
        for gone in self._kinds.keys() - devices:
            del self._kinds[gone]
            self._seen.pop(gone, None)
        # Those of an earlier run that have said nothing yet are not gone.
        await self._keep({*devices, _GATEWAY})

    async def _tell(self, device: str) -> None:
        """Say of one device what is new. Raises LookupError."""
        known, units = self._house.devices_.get(device), self._house.units(device)
        seen = len(known.metrics), len(units)
        if not known.last or self._seen.get(device) == seen:
            return
        kinds = self._kinds.setdefault(device, {})
        kinds.update(known.last)
        info = await self._own.info(device)
        if not self._house.devices_.knows(device):
            return
        self._say(device, _device(self._house.topics, known.original, device, info,
                                  _units(info, units, kinds), kinds))  # fmt: skip
        self._seen[device] = seen

    def _say(self, device: str, message: Mapping[str, Any]) -> None:
        self._announcer.publish(_topic(self._house.topics, device), message, retain=True)

    async def _keep(self, devices: set[str]) -> None:
        """Take back what was said of others, and remember these."""
        if devices == self._said:
            return
        for gone in self._said - devices:
            self._announcer.clear(_topic(self._house.topics, gone))
        self._said = devices
        try:
            await asyncio.to_thread(self._write, devices)
        except OSError as error:
            log.warning("home assistant: what was said cannot be remembered: %s", error)

    def _read(self) -> set[str]:
        with suppress(OSError, msgspec.MsgspecError):
            return set(msgspec.json.decode(self._file.read_bytes(), type=list[str]))
        return set()

    def _write(self, devices: set[str]) -> None:
        if not devices:
            self._file.unlink(missing_ok=True)
            return
        new = self._file.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(sorted(devices)))
        new.replace(self._file)


def _topic(topics: Topics, device: str) -> str:
    return f"homeassistant/device/{_name(topics, device)}/config"


def _name(topics: Topics, device: str) -> str:
    """What Home Assistant knows a device by; its gateway's part keeps it apart from others'."""
    own = f"berrygate_{topics.gateway}"
    return own if device == _GATEWAY else f"{own}_{device}"


def _device(
    topics: Topics,
    original: str,
    device: str,
    info: Mapping[str, Any],
    units: Mapping[str, str],
    kinds: Mapping[str, Value],
) -> dict[str, Any]:
    name = _name(topics, device)
    about = {"ids": [name], "name": original, "via_device": _name(topics, _GATEWAY)}
    about |= {"mdl": info["model"]} if info.get("model") else {}
    about |= {"sn": info["serial"]} if info.get("serial") else {}
    return {
        "dev": about,
        "o": _origin(),
        "availability": [_available(topics, _GATEWAY), _available(topics, device)],
        "availability_mode": "all",
        "state_topic": topics("state", device, "readings"),
        "qos": 1,
        "cmps": {
            key_of(metric): {
                "unique_id": f"{name}_{key_of(metric)}",
                **entity(metric, value, units.get(metric, "")),
            }
            for metric, value in sorted(kinds.items())
        },
    }


def _health(topics: Topics) -> dict[str, Any]:
    name = _name(topics, _GATEWAY)
    return {
        "dev": {"ids": [name], "name": topics.gateway, "mf": "Berrygate", "sw": __version__},
        "o": _origin(),
        "availability": [_available(topics, _GATEWAY)],
        "state_topic": topics.summary,
        "qos": 1,
        "cmps": {
            "health": {
                "p": "sensor", "unique_id": f"{name}_health", "name": "Health",
                "device_class": "enum", "options": _LEVELS,
                "value_template": "{{ value_json.level }}",
            },
            "score": {
                "p": "sensor", "unique_id": f"{name}_score", "name": "Health score",
                "state_class": "measurement", "unit_of_measurement": "%",
                "value_template": "{{ value_json.score }}",
            },
        },
    }  # fmt: skip


def _origin() -> dict[str, str]:
    return {"name": "Berrygate", "sw": __version__}


def _available(topics: Topics, device: str) -> dict[str, str]:
    return {"topic": topics("status", device, "presence"), "value_template": _AVAILABLE}


def _units(
    info: Mapping[str, Any], known: Mapping[str, str], kinds: Mapping[str, Value]
) -> dict[str, str]:
    """Unit by metric; a device may tell them by patterns."""
    patterns: Mapping[str, str] = info.get("units") or {}
    found = {
        metric: unit
        for metric in kinds
        for pattern, unit in patterns.items()
        if fnmatchcase(metric, pattern)
    }
    return found | dict(known)
