"""What only a Raspberry Pi knows of itself: model, throttling, under-voltage.

Bits of `vcgencmd get_throttled` as documented in the Raspberry Pi OS documentation, "vcgencmd".
"""

import shutil
import subprocess
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
    "sys/devices/platform/soc/soc:firmware/get_throttled",
    "sys/class/hwmon/hwmon0/device/get_throttled",
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


def throttled(root: Path) -> dict[str, bool]:
    """Each bit by name; empty where this is no Pi. Blocks for at most 2 s."""
    word = _word(root)
    if word is None:
        return {}
    return {name: bool(word >> bit & 1) for name, bit in _BITS.items()}


def _word(root: Path) -> int | None:
    for name in _FILES:
        try:
            return int((root / name).read_text().strip(), 16)
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
