"""Frames of the chips on one bus, by the chip that each comes from."""

from collections.abc import Iterable, Mapping

from gateway.core.contracts import Value
from gateway.core.errors import DecodeError
from gateway.core.settings import CodecSettings
from gateway.io.i2c.chips.chip import Chip
from gateway.io.i2c.chips.settings import ChipSettings


class ChipCodecSettings(CodecSettings):
    """How frames of chips are decoded; made by the bus, not written by anybody."""

    type: str = "chips"
    """Which codec."""
    chips: dict[str, ChipSettings]
    """The chips by name."""

    def build(self) -> "ChipCodec":
        """The codec, for one bus."""
        return ChipCodec({name: chip.build() for name, chip in self.chips.items()})


class ChipCodec:
    """See the module. A frame's topic is its chip's name."""

    def __init__(self, chips: Mapping[str, Chip]) -> None:
        self._chips = chips
        self._names: dict[str, str] = {}  # of chips, by the device's id where that is another

    def decode(
        self, device: str, payload: bytes, received: int
    ) -> Iterable[tuple[int | None, dict[str, Value]]]:
        """What a frame of the chip with a device's id says. Raises DecodeError."""
        return [(None, self._of(self._names.get(device, device)).decode(payload))]

    def addressed(
        self, topic: str, device: str, payload: bytes, received: int
    ) -> Iterable[tuple[str, int | None, dict[str, Value]]]:
        """See gateway.core.contracts.Addressed. Raises DecodeError."""
        chip = self._of(topic)
        self._names[device] = topic
        return [("", None, chip.decode(payload))]

    def units(self, device: str) -> Mapping[str, str]:
        """See gateway.core.contracts.Measured."""
        chip = self._chips.get(self._names.get(device, device))
        return chip.units if chip is not None else {}

    def _of(self, name: str) -> Chip:
        chip = self._chips.get(name)
        if chip is None:
            raise DecodeError(f'"{name}" is no chip of this bus', reason="topic")
        return chip
