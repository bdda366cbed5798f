"""Which serial ports this machine has, and which of them is meant. Reads files only.

A port has a name of the kernel's (/dev/ttyUSB0), which another one may have after the next start,
and, where udev runs, one that stays with the adapter (/dev/serial/by-id/…). idVendor, idProduct and
serial are as in the Linux kernel's documentation, sysfs-bus-usb.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.core.errors import Unavailable

USB = re.compile(r"usb:(?P<vendor>[0-9a-fA-F]{4}):(?P<product>[0-9a-fA-F]{4})(:(?P<serial>.+))?")
"""A port by its adapter: `usb:0403:6001`, or with its serial number `usb:0403:6001:A50285BI`."""
_BY_ID = "dev/serial/by-id"
_UP = 6  # levels from a tty to its USB device, at most
_MOST = 20  # ports that a message lists
_MOST_PROCESSES = 2_000


@dataclass(frozen=True, slots=True)
class Adapter:
    """A port that is here. link: its name that stays, or "". vendor, product: of its USB device,
    in hexadecimal; serial, name: as that tells them. Empty where there is no such thing."""

    path: str
    link: str = ""
    vendor: str = ""
    product: str = ""
    serial: str = ""
    name: str = ""

    def same_kind(self, other: "Adapter") -> bool:
        """Whether both are the same adapter, as far as USB tells."""
        mine = (self.vendor, self.product, self.serial)
        return bool(self.vendor) and mine == (other.vendor, other.product, other.serial)


def adapters(root: Path = Path("/")) -> list[Adapter]:
    """Every serial port of this machine that has a device behind it."""
    links = {os.path.realpath(link): str(link) for link in _entries(root / _BY_ID)}
    found = []
    for tty in _entries(root / "sys/class/tty"):
        path = root / "dev" / tty.name
        # "0": a port that the kernel has room for, and the board does not have.
        if not (tty / "device").exists() or _text(tty / "type") == "0" or not path.exists():
            continue
        link = links.get(os.path.realpath(path), "")
        found.append(Adapter(str(path), link, *_usb(Path(os.path.realpath(tty / "device")))))
    return found


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return []


def _usb(device: Path) -> tuple[str, str, str, str]:
    """(vendor, product, serial number, name) of the USB device that a tty belongs to."""
    for place in (device, *device.parents)[:_UP]:
        if (place / "idVendor").exists():
            names = ("idVendor", "idProduct", "serial", "product")
            vendor, product, serial, name = (_text(place / each) for each in names)
            return vendor.lower(), product.lower(), serial, name
    return "", "", "", ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def known_as(path: str, root: Path = Path("/")) -> Adapter | None:
    """The port that a name leads to; None where nothing is known of it."""
    real = os.path.realpath(path)
    return next((each for each in adapters(root) if os.path.realpath(each.path) == real), None)


def find(port: str, before: Adapter | None = None, root: Path = Path("/")) -> str:
    """The path to open for a port as configured: a path, or USB. before: the adapter that was last
    used under that name, which may have another one now. Raises Unavailable."""
    # A name that stays with its adapter is right by itself.
    if Path(port).exists() and (before is None or "/by-id/" in port):
        return port
    here = adapters(root)
    if match := USB.fullmatch(port):
        return _by_usb(port, match, here)
    if before is not None:
        same = [each.path for each in here if each.same_kind(before)]
        if len(same) == 1 and (before.serial or not Path(port).exists()):
            return same[0]
    if not Path(port).exists():
        raise Unavailable(f"{port} is not there; {listing(here)}", fix=_FIX)
    return port


_FIX = "plug it in, or set port to one that is here, best by its name in /dev/serial/by-id"


def _by_usb(port: str, match: re.Match[str], here: list[Adapter]) -> str:
    vendor, product = match["vendor"].lower(), match["product"].lower()
    fitting = [
        each
        for each in here
        if (each.vendor, each.product) == (vendor, product)
        and match["serial"] in (None, each.serial)
    ]
    if len(fitting) == 1:
        return fitting[0].path
    if not fitting:
        raise Unavailable(f"no adapter {port} is there; {listing(here)}", fix=_FIX)
    numbers = ", ".join(each.serial or "none" for each in fitting)
    fix = f"add the serial number: {port}:…, or name the port by its path"
    raise Unavailable(f"{len(fitting)} adapters are {port} (serial numbers: {numbers})", fix=fix)


def listing(here: list[Adapter]) -> str:
    """The ports that are here, for people."""
    if not here:
        return "this machine has no serial port now"
    names = [f"{each.link} ({each.path})" if each.link else each.path for each in here]
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f"here are: {', '.join(names[:_MOST])}{more}"


def holder(path: str) -> str:
    """Who has a port open, as far as we may know: `name (pid)`, or ""."""
    wanted = os.path.realpath(path)
    try:
        pids = [place.name for place in Path("/proc").iterdir() if place.name.isdigit()]
    except OSError:
        return ""
    for pid in pids[:_MOST_PROCESSES]:
        if int(pid) == os.getpid():
            continue
        with suppress(OSError):
            for link in Path("/proc", pid, "fd").iterdir():
                if str(link.readlink()) == wanted:
                    return f"{Path('/proc', pid, 'comm').read_text().strip()} ({pid})"
    return ""
