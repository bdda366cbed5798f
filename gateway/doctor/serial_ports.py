"""The serial ports that the configuration names."""

import stat
from pathlib import Path

from gateway.core.errors import Unavailable
from gateway.doctor.access import may, user
from gateway.doctor.findings import Finding, Scene, fail, ok, skip, warn
from gateway.io.serial.names import find, holder, known_as

_TYPES = ("serial", "modbus")


def ports(scene: Scene) -> list[Finding]:
    """Whether each is there, is one, may be used by the gateway's user, and by nobody else."""
    check = "source.port"
    if scene.config is None:
        return [skip(check, "no configuration to go by")]
    named = [
        (name, port)
        for name, settings in scene.config.named_devices.items()
        if settings.type in _TYPES and isinstance(port := getattr(settings, "port", None), str)
    ]
    found = [_port(check, scene, name, port) for name, port in named]
    return found or [skip(check, "none is configured")]


def _port(check: str, scene: Scene, name: str, port: str) -> Finding:
    try:
        path = find(port, root=scene.root)
        mode = Path(path).stat().st_mode
        allowed = may(user(scene), Path(path), 6)
    except Unavailable as error:
        return fail(check, str(error), error.fix or "", name)
    except OSError as error:
        fix = f"see who may enter {Path(port).parent}"
        return fail(check, f"{port}: {error.strerror}", fix, name)
    if not stat.S_ISCHR(mode):
        return fail(check, f"{path} is no serial port", "set port to one", name)
    if not allowed:
        who, group = user(scene).name, _group(path)
        fix = f"sudo usermod -aG {group} {who}, then restart the gateway"
        return fail(check, f"{who} may not use {path}", fix, name)
    return _used(check, scene, name, port, path)


def _used(check: str, scene: Scene, name: str, port: str, path: str) -> Finding:
    who = holder(path)
    if who and not (scene.peer and who.endswith(f"({scene.peer.pid})")):
        return fail(check, f"{path} is in use by {who}", "stop it, or set port to another", name)
    adapter = known_as(path, scene.root)
    if adapter is not None and adapter.link and port == adapter.path:
        seen = f"{port} may be another adapter after the next start"
        return warn(check, seen, f"port: {adapter.link}", name)
    about = f" ({adapter.name})" if adapter and adapter.name else ""
    return ok(check, f"{path}{about}, {'open' if who else 'free'}", name)


def _group(path: str) -> str:
    try:
        group = Path(path).group()
    except (KeyError, OSError):
        return "dialout"
    return "dialout" if group == "root" else group
