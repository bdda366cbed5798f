"""Units on a Modbus line, as configured."""

from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import Field, model_validator

from gateway.core.settings import Duration, Id, Settings, wrong
from gateway.io.modbus.map import Every, Map, RegisterSettings
from gateway.io.modbus.plan import Group, Item, items
from gateway.io.modbus.units import Unit


class UnitSettings(Settings):
    """A device on the line."""

    device: Id
    """What it is called."""
    address: Annotated[int, Field(ge=0, le=255)] = 1
    """Its address on the line, also called unit, slave or device id; 0 is for TCP only."""
    map: Map
    """What is in its registers: the name of a map that comes with the gateway, the path of a file
    of your own (with a `/` in it), or the map itself."""
    only: tuple[str, ...] = ()
    """Which of the map's values, as shell patterns on their names; one starting with `!` excludes.
    All if none are given."""
    every: Every | None = None
    """How often it is read, if not as often as the map says."""
    timeout: Annotated[Duration, Field(gt=0, le=60)] | None = None
    """How long its answer may take, if not as long as those of others on the line."""

    @model_validator(mode="after")
    def _chosen(self) -> "UnitSettings":
        if not self.chosen:
            names = ", ".join(each.name for each in self.map.registers[:8])
            raise wrong("only", "none of the map's values has such a name", f"choose from {names}")
        return self

    @property
    def chosen(self) -> list[RegisterSettings]:
        """The registers that are wanted."""
        good = [each for each in self.only if not each.startswith("!")] or ["*"]
        bad = [each[1:] for each in self.only if each.startswith("!")]
        return [
            each
            for each in self.map.registers
            if any(fnmatchcase(each.name, pattern) for pattern in good)
            and not any(fnmatchcase(each.name, pattern) for pattern in bad)
        ]

    def build(self, timeout: float) -> Unit:
        """See gateway.io.modbus.units."""
        every = self.every or self.map.every
        found = items(self.map, self.chosen)
        groups: dict[float, list[Item]] = {}
        for item in found:
            if item.settings.read:
                groups.setdefault(item.settings.every or every, []).append(item)
        gap, largest = self.map.gap, self.map.largest
        planned = [Group(each, wanted, gap, largest) for each, wanted in groups.items()]
        wait = self.timeout or timeout
        return Unit(self.device, self.address, self.map.model, found, planned, wait)
