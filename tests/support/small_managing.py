"""What a small house needs so that its devices can be told things and managed."""

import tempfile
from collections import deque
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gateway.core.contracts import Command, Reply
from gateway.core.topics import Topics
from gateway.io.sqlite.database import Database
from gateway.runtime.command_targets import Target
from gateway.runtime.commanding import Commanding
from gateway.runtime.managing import Managing
from gateway.runtime.twinning import Twinning
from gateway.stages.health import Health
from gateway.store.commands import Commands
from gateway.store.devices import Devices
from gateway.store.twins import Twins
from tests.support.small_house import SmallHouse

SCHEMA = {
    "type": "object",
    "properties": {"value": {"type": "number", "minimum": 0, "maximum": 10}},
    "required": ["value"],
    "additionalProperties": False,
}


class Obedient:
    """Does what it is told; `done` is what."""

    def __init__(self) -> None:
        self.done: list[Command] = []

    async def execute(self, command: Command) -> Reply:
        self.done.append(command)
        return Reply("ok", dict(command.args))


class Silent:
    """Publishes nothing."""

    def publish(self, topic: str, payload: Any, qos: int = 1, retain: bool = False) -> None:
        pass

    def clear(self, topic: str) -> None:
        pass


def manage(house: SmallHouse) -> Obedient:
    """Have a store and drivers behind the house; the driver."""
    house.directory = tempfile.TemporaryDirectory()
    migrations = files("gateway.store") / "migrations" / "state"
    devices = Devices(Database(Path(house.directory.name) / "state.db", migrations))
    for name in house.devices_:
        devices.id_of(name, "mqtt")
    driver, topics = Obedient(), Topics("berrygate", "test")

    def find(device: str) -> Target:
        return Target(driver, devices.get(device).original, {"set": SCHEMA})

    house.commanding = Commanding(Commands(devices.database), find, lambda command: None)
    house.twinning = Twinning(Twins(devices.database), topics, devices.knows, Silent)
    inside = SimpleNamespace(
        devices_=devices,
        health_=Health(),
        health_log=SimpleNamespace(end=lambda part: None),
        commanding=house.commanding,
        twinning=house.twinning,
        alerting=None,
        intakes={},
        looks=deque(),
        topics=topics,
    )
    house.managing = Managing(inside, Silent, lambda device: None)  # type: ignore[arg-type]
    return driver
