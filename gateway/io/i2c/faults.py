"""What is wrong with an I2C bus or a chip on it, by errno.

Those of adapters are in Linux's Documentation/i2c/fault-codes.
"""

import errno
from pathlib import Path

from gateway.core.errors import BerrygateError, Denied, Unavailable
from gateway.io.i2c.chips.chip import NoAnswer

_NACK = (errno.EREMOTEIO, errno.ENXIO)
_GONE = (errno.ENODEV, errno.EBADF, errno.ESHUTDOWN)
_SWITCH_ON = (
    "sudo raspi-config nonint do_i2c 0 (or dtparam=i2c_arm=on in /boot/firmware/config.txt, and "
    "i2c-dev in /etc/modules), and restart the machine"
)


class BusLost(Unavailable):
    """The adapter is gone: it must be opened again."""


def unopened(path: str, root: Path, error: OSError) -> BerrygateError:
    """Why a bus cannot be opened: Denied where we may not, else Unavailable. root: where the file
    system begins."""
    if error.errno in (errno.EACCES, errno.EPERM):
        fix = "sudo usermod -aG i2c USER for the gateway's user, then restart the gateway"
        return Denied(f"we may not use {path}", fix=fix)
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        here = sorted(str(each) for each in (root / "dev").glob("i2c-*"))
        listed = f"here are: {', '.join(here)}" if here else "I2C is switched off"
        # A Pi has buses of its screens although the one at its pins is switched off.
        usual = not here or path.endswith("/i2c-1")
        fix = _SWITCH_ON if usual else "correct bus, or switch it on with a dtoverlay"
        return Unavailable(f"{path} is not there; {listed}", fix=fix)
    if error.errno in (errno.ENOTTY, errno.EINVAL):
        return Unavailable(f"{path} is no I2C bus", fix="bus: 1, or the path of an I2C bus")
    return Unavailable(f"{path} cannot be opened: {error.strerror}", fix="see the kernel's log")


def failed(path: str, address: int, error: OSError) -> Unavailable:
    """Why a transfer failed: NoAnswer, BusLost or Unavailable."""
    if error.errno in _NACK:
        number = path.rpartition("-")[2]
        fix = f"see whether `i2cdetect -y {number}` shows {address:02x}; check wiring and supply"
        return NoAnswer("no answer", fix=fix)
    if error.errno in _GONE:
        return BusLost(f"{path} is gone", fix="plug the adapter in again")
    if error.errno == errno.ETIMEDOUT:
        fix = "check SDA and SCL for a short and for pull-ups; switch its supply off and on"
        return Unavailable("the bus is held: timed out", fix=fix)
    if error.errno == errno.EAGAIN:
        return Unavailable("another master has the bus", fix="check SDA and SCL for noise")
    fix = "shorten the wires, or slow the bus: dtparam=i2c_arm_baudrate=50000"
    return Unavailable(f"the transfer failed: {error.strerror}", fix=fix)
