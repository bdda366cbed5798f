"""A tree of files as Linux shows USB serial adapters in /sys and /dev."""

import os
from pathlib import Path


def adapter(
    root: Path,
    tty: str,
    target: str = "/dev/null",
    serial: str = "A50285BI",
    ids: str = "0403:6001",
) -> Path:
    """Plug an adapter in; the path of its port, which leads to `target`."""
    usb = root / f"sys/devices/usb1/{tty}-device"
    (usb / "interface" / tty).mkdir(parents=True, exist_ok=True)
    vendor, _, product = ids.partition(":")
    texts = {"idVendor": vendor, "idProduct": product, "product": "FT232R USB UART"}
    for name, text in (texts | ({"serial": serial} if serial else {})).items():
        (usb / name).write_text(text + "\n")
    entry = root / "sys/class/tty" / tty
    entry.mkdir(parents=True, exist_ok=True)
    _link(entry / "device", str(usb / "interface" / tty))
    port = root / "dev" / tty
    port.parent.mkdir(parents=True, exist_ok=True)
    _link(port, target)
    if serial:
        link = root / f"dev/serial/by-id/usb-FTDI_{serial}-if00-port0"
        link.parent.mkdir(parents=True, exist_ok=True)
        _link(link, str(port))
    return port


def gone(root: Path, tty: str) -> None:
    """Unplug it."""
    real = os.path.realpath(root / "dev" / tty)
    for link in (root / "dev/serial/by-id").glob("*"):
        if os.path.realpath(link) == real:
            link.unlink()
    for path in (root / "dev" / tty, root / "sys/class/tty" / tty / "device"):
        path.unlink()
    (root / "sys/class/tty" / tty).rmdir()


def _link(place: Path, target: str) -> None:
    place.unlink(missing_ok=True)
    place.symlink_to(target)
