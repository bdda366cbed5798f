"""What a Raspberry Pi tells of itself in files: model, temperature, throttling, under-voltage.

Also on other machines, as far as they have these files. Thermal zones and hwmon as in the Linux
kernel's documentation: driver-api/thermal/sysfs-api, hwmon/sysfs-interface.

Bits of `vcgencmd get_throttled` as documented in the Raspberry Pi OS documentation, "vcgencmd".
"""

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

_BITS = {
    "undervoltage.now": 0,
    "frequency_capped.now": 1,
    "throttled.now": 2,
    "soft_temperature_limit.now": 3,
    "undervoltage.seen": 16,
    "frequency_capped.seen": 17,
    "throttled.seen": 18,
    "soft_temperature_limit.seen": 19,
}
_FILES = (
    "sys/devices/platform/soc*/*firmware/get_throttled",
    "sys/class/hwmon/hwmon*/device/get_throttled",
)
_TIMEOUT = 2.0


def model(root: Path) -> str | None:
    """The board's name from the device tree, or what the firmware of a PC says; None if neither."""
    for name in ("proc/device-tree/model", "sys/class/dmi/id/product_name"):
        try:
            return (root / name).read_text(errors="replace").strip("\0\n ") or None
        except OSError:
            continue
    return None


def temperatures(root: Path) -> Iterator[tuple[str, float]]:
    """(name, °C) of each sensor; a second one of a name gets a number. A sensor that is listed
    and refuses to be read is left out."""
    seen: Counter[str] = Counter()
    zones: set[str] = set()
    for name, celsius in _zones(root):
        seen[name] += 1
        zones.add(name.replace("-", "_"))
        yield _numbered(name, seen), celsius
    for chip, name, celsius in _hwmon(root):
        if chip.replace("-", "_") in zones:
            continue  # the same sensor as a thermal zone
        seen[name] += 1
        yield _numbered(name, seen), celsius


def _numbered(name: str, seen: Counter[str]) -> str:
    return name if seen[name] == 1 else f"{name}_{seen[name]}"


def _zones(root: Path) -> Iterator[tuple[str, float]]:
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        try:
            yield (zone / "type").read_text().strip(), int((zone / "temp").read_text()) / 1000
        except (OSError, ValueError):
            continue


def _hwmon(root: Path) -> Iterator[tuple[str, str, float]]:
    for sensor in sorted((root / "sys/class/hwmon").glob("hwmon*/temp*_input")):
        label = sensor.with_name(sensor.name.replace("_input", "_label"))
        try:
            chip = (sensor.parent / "name").read_text().strip()
            name = f"{chip}_{label.read_text().strip()}" if label.exists() else chip
            yield chip, name, int(sensor.read_text()) / 1000
        except (OSError, ValueError):
            continue


def throttled(root: Path) -> dict[str, bool]:
    """Each bit by name; empty where this is no Pi. Blocks for at most 2 s."""
    word = _word(root)
    if word is None:
        return {}
    return {name: bool(word >> bit & 1) for name, bit in _BITS.items()}


def _word(root: Path) -> int | None:
    for file in chain.from_iterable(map(root.glob, _FILES)):
        try:
            return int(file.read_text().strip(), 16)
        except (OSError, ValueError):
            continue
    command = shutil.which("vcgencmd", path=str(root / "usr/bin"))
    if command is None:
        return None
    try:
        answer = subprocess.run(
            [command, "get_throttled"], capture_output=True, timeout=_TIMEOUT, check=True, text=True
        )
        return int(answer.stdout.strip().removeprefix("throttled="), 16)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
