"""The I2C and 1-Wire buses that the configuration names."""

import errno
import os
import stat
from pathlib import Path

from gateway.core.errors import Unavailable
from gateway.doctor.access import may, user
from gateway.doctor.findings import Finding, Scene, fail, ok, skip, warn
from gateway.io.i2c.faults import unopened
from gateway.io.onewire.sysfs import sensors


def buses(scene: Scene) -> list[Finding]:
    """Whether each is there and may be used by the gateway's user; on 1-Wire, what is on it."""
    check = "source.bus"
    if scene.config is None:
        return [skip(check, "no configuration to go by")]
    found = []
    for name, settings in scene.config.named_devices.items():
        if settings.type == "i2c" and isinstance(path := getattr(settings, "path", None), str):
            found.append(_i2c(check, scene, name, path))
        elif settings.type == "onewire":
            found.append(_onewire(check, scene, name, getattr(settings, "names", {})))
    return found or [skip(check, "none is configured")]


def _i2c(check: str, scene: Scene, name: str, path: str) -> Finding:
    place = scene.root / path.lstrip("/")
    try:
        mode = place.stat().st_mode
        if not stat.S_ISCHR(mode):
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        if not may(user(scene), place, 6):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        why = unopened(path, scene.root, error)
        return fail(check, str(why), why.fix or "", name)
    return ok(check, f"{path} is there", name)


def _onewire(check: str, scene: Scene, name: str, names: dict[str, str]) -> Finding:
    try:
        here: dict[str, Path] = sensors(scene.root)
    except Unavailable as error:
        return fail(check, str(error), error.fix or "", name)
    fix = "check the wires: data at GPIO 4, with 4.7 kΩ to 3.3 V"
    if missing := sorted(set(names) - set(here)):
        return warn(check, f"not on the bus: {', '.join(missing)}", fix, name)
    if not here:
        return warn(check, "no thermometer is on the bus", fix, name)
    return ok(check, f"on the bus: {', '.join(here)}", name)
