"""The systemd service, where systemd runs."""

from functools import cache

from gateway.doctor.findings import Finding, Scene, fail, ok, output, skip, warn

UNIT = "berrygate.service"
_SHOWN = "LoadState,ActiveState,SubState,UnitFileState,NRestarts,WatchdogUSec,User,Result"
_MANY = 5


@cache
def properties() -> dict[str, str]:
    """What systemd says of our unit; empty where there is no systemd."""
    said = output("systemctl", "show", UNIT, "-p", _SHOWN)
    lines = (said or "").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def service(scene: Scene) -> list[Finding]:
    """Whether it starts with the machine, and stays up."""
    check = "gateway.service"
    if not (scene.root / "run/systemd/system").exists():
        return [skip(check, "systemd does not run here")]
    found = properties()
    if found.get("LoadState") != "loaded":
        return [skip(check, "not installed as a service (sudo ./install.sh service)")]
    state, restarts = found.get("ActiveState", "?"), int(found.get("NRestarts") or 0)
    seen = f"{state}, {found.get('UnitFileState', '?')}, restarted {restarts} time(s)"
    if state not in ("active", "activating", "reloading"):
        why = f"sudo systemctl start {UNIT}; see journalctl -u {UNIT} -n 50"
        return [fail(check, f"{seen}, {found.get('Result', '')}", why)]
    if found.get("UnitFileState") not in ("enabled", "enabled-runtime", "static"):
        fix = f"sudo systemctl enable {UNIT}"
        return [warn(check, f"{seen}: it does not start with the machine", fix)]
    if restarts >= _MANY:
        return [warn(check, seen, f"see why: journalctl -u {UNIT} -p warning -n 100")]
    guarded = found.get("WatchdogUSec", "0") not in ("0", "infinity")
    return [ok(check, f"{seen}, {'with' if guarded else 'without'} a watchdog")]
