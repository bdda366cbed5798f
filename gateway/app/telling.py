"""What tells devices what to do and to be: commands and desired state, and who listens for them."""

from collections.abc import Callable
from typing import Any

from gateway.app.parts import Parts
from gateway.core.contracts import Endpoint
from gateway.runtime.announce import Announcer
from gateway.runtime.command_ear import CommandEar
from gateway.runtime.command_targets import Finder
from gateway.runtime.commanding import Commanding
from gateway.runtime.house import House
from gateway.runtime.twinning import Twinning
from gateway.store.commands import Commanded, Commands
from gateway.store.twins import Twins


class Telling:
    """See the module. announcer: whoever publishes at the moment; a reload may make another one."""

    def __init__(self, house: House, parts: Parts, announcer: Callable[[], Announcer]) -> None:
        self._house = house
        self._parts = parts
        self._announcer = announcer
        self._commanding = house.commanding = Commanding(
            Commands(house.devices_.database),
            Finder(house.devices_, house.intakes),
            self._tell,
            lambda: house.clock.synced,
        )
        self._twinning = house.twinning = Twinning(
            Twins(house.devices_.database), house.topics, house.devices_.knows, announcer
        )

    async def start(self, broker: Endpoint) -> None:
        """Begin, and hear what is asked for at this broker."""
        self._parts.start("commanding", self._commanding.run())
        self._parts.start("twinning", self._twinning.run())
        await self.hear(broker)

    async def hear(self, broker: Endpoint) -> None:
        """Hear at this broker from now on; what heard before must have ended."""
        self._twinning.announce()
        ear = CommandEar(
            broker, self._house.topics, self._commanding, self._publish, self._twinning.heard
        )
        await self._parts.enter("commands", ear.running())

    def _publish(self, topic: str, payload: Any) -> None:
        self._announcer().publish(topic, payload)

    def _tell(self, command: Commanded) -> None:
        self._publish(self._house.topics("res", command.device, command.name), command.told())
