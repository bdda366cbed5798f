"""Thermometers on 1-Wire, as Linux shows them in /sys (Documentation/w1/slaves/w1_therm).

To read `w1_slave` makes the sensor measure, which takes up to 0.75 s at 12 bits, and gives the
nine bytes of its scratchpad; `temperature` gives the result alone, which does not tell a
measurement from what a sensor says that has lost its supply. So that is read only where there is
nothing better.
"""

import errno
import re
from pathlib import Path

from gateway.core.errors import Unavailable

FAMILIES = {
    "10": "DS18S20", "22": "DS1822", "28": "DS18B20", "3b": "DS1825", "42": "DS28EA00",
}  # fmt: skip
"""Thermometers by the first byte of their id."""
SENSOR = re.compile(rf"({'|'.join(FAMILIES)})-[0-9a-f]{{12}}")
"""A sensor's id, as the kernel writes it."""
FILES = ("w1_slave", "temperature")
"""What a reading can be in, best first."""
_DEVICES = "sys/bus/w1/devices"
_LARGEST = 4_096  # bytes of such a file
_SWITCH_ON = (
    "dtoverlay=w1-gpio in /boot/firmware/config.txt (raspi-config, Interface Options, 1-Wire), and "
    "restart the machine"
)


def sensors(root: Path = Path("/")) -> dict[str, Path]:
    """Every thermometer on the machine's buses, by its id. Blocks. Raises Unavailable where there
    is no bus."""
    try:
        here = {entry.name: entry for entry in (root / _DEVICES).iterdir()}
    except OSError:
        here = {}
    if not any(name.startswith("w1_bus_master") for name in here):
        raise Unavailable("this machine has no 1-Wire bus: it is switched off", fix=_SWITCH_ON)
    # What is not whole in a message, as by noise, is taken for a sensor "00-…" by the kernel.
    return {name: here[name] for name in sorted(here) if SENSOR.fullmatch(name)}


def read(sensor: Path) -> tuple[str, bytes]:
    """The file that a reading came from, and what is in it. Blocks for a measurement. Raises
    Unavailable."""
    name = next((name for name in FILES if (sensor / name).exists()), "")
    if not name:
        if not sensor.exists():
            raise Unavailable("it is not on the bus", fix=_WIRING)
        raise Unavailable("the kernel has no driver for it", fix="sudo modprobe w1-therm")
    try:
        with (sensor / name).open("rb", buffering=0) as file:
            data = file.read(_LARGEST)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            raise Unavailable("it is not on the bus", fix=_WIRING) from error
        raise Unavailable(f"it cannot be read: {error.strerror}", fix=_WIRING) from error
    if not data.strip():  # so the kernel says that something went wrong
        raise Unavailable("no answer", fix=_WIRING)
    return name, data


_WIRING = "check its wires, its supply, and the resistor of 4.7 kΩ between data and 3.3 V"


def set_resolution(sensor: Path, bits: int) -> str:
    """Have a sensor measure with so many bits; why it does not, or "". Blocks. Kept until it loses
    its supply."""
    file = sensor / "resolution"
    if not file.exists():
        return ""  # a kind that has but one
    try:
        if file.read_text().strip() == str(bits):
            return ""
        file.write_text(f"{bits}\n")
    except OSError as error:
        return f"we may not set its resolution ({error.strerror}); as root: echo {bits} >{file}"
    return ""
