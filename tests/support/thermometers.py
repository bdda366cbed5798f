"""A tree of files as Linux shows thermometers on 1-Wire in /sys: what a test writes is what the
kernel would have read from the sensors."""

import shutil
from pathlib import Path


def crc(data: bytes) -> int:
    """CRC-8 of Maxim, by long division with the bits the other way round."""
    number = int.from_bytes(bytes(_turned(byte) for byte in data), "big") << 8
    for bit in range(8 * len(data) + 7, 7, -1):
        if number >> bit & 1:
            number ^= 0x131 << bit - 8
    return _turned(number & 0xFF)


def _turned(byte: int) -> int:
    return int(f"{byte:08b}"[::-1], 2)


def scratchpad(raw: int, bits: int = 12, byte6: int | None = None) -> bytes:
    """The nine bytes of a DS18B20. byte6: as it has it after a measurement, if not given."""
    low = raw & 0xFF
    data = bytes((
        low, raw >> 8 & 0xFF, 0x4B, 0x46, bits - 9 << 5 | 0x1F, 0xFF,
        16 - (low & 15) if byte6 is None else byte6, 0x10,
    ))  # fmt: skip
    return data + bytes((crc(data),))


def w1_slave(data: bytes, milli: int) -> str:
    """What the kernel writes for a scratchpad, and what it makes of it."""
    shown = data.hex(" ")
    verdict = "YES" if crc(data[:8]) == data[8] else "NO"
    return f"{shown} : crc={crc(data[:8]):02x} {verdict}\n{shown} t={milli}\n"


class Thermometers:
    """The buses of a machine, below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._devices = root / "sys/bus/w1/devices"
        self._master = root / "sys/devices/w1_bus_master1"

    def switch_on(self) -> "Thermometers":
        """Have a bus."""
        self._master.mkdir(parents=True)
        self._devices.mkdir(parents=True, exist_ok=True)
        (self._devices / "w1_bus_master1").symlink_to(self._master)
        return self

    def switch_off(self) -> None:
        """Have none."""
        shutil.rmtree(self.root / "sys")

    def plug(self, sensor: str, celsius: float, bits: int = 12) -> Path:
        """A sensor on the bus; where its files are."""
        place = self._master / sensor
        place.mkdir()
        (place / "resolution").write_text(f"{bits}\n")
        self.measures(sensor, celsius, bits)
        (self._devices / sensor).symlink_to(place)
        return place

    def measures(self, sensor: str, celsius: float, bits: int = 12) -> None:
        """What it says from now on."""
        raw = round(celsius * 16)
        self.says(sensor, w1_slave(scratchpad(raw & 0xFFFF, bits), int(celsius * 1000)))

    def says(self, sensor: str, text: str) -> None:
        """What the kernel writes from now on; never half of it."""
        file = self._master / sensor / "w1_slave"
        new = file.with_suffix(".new")
        new.write_text(text)
        new.rename(file)

    def unplug(self, sensor: str) -> None:
        """Take it off."""
        (self._devices / sensor).unlink()
        shutil.rmtree(self._master / sensor)
