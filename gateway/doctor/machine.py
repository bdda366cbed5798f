"""The machine: clock, power, temperature, memory, and what is installed."""

import ctypes
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from gateway import __version__
from gateway.bus.records import Stamp
from gateway.bus.times import Times
from gateway.doctor.findings import Finding, Scene, content, fail, matching, ok, output, skip, warn
from gateway.io import raspberry
from gateway.runtime.clock import Clock

_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
_TIMEX = 512  # bytes; larger than struct timex anywhere
_BEHIND = 60.0
_PACKAGES = ("pydantic", "msgspec", "paho-mqtt", "zstandard", "pcodec", "numpy", "fastapi")
_SET_TIME = "sudo apt install systemd-timesyncd && sudo timedatectl set-ntp true"


def clock(scene: Scene) -> list[Finding]:
    """Whether the time is right, and who keeps it so."""
    check = "clock.synchronised"
    if (scene.root / "run/systemd/timesync/synchronized").exists():
        return [ok(check, "by systemd-timesyncd"), _offset(scene)]
    kept = not _unsynchronised()
    trusted = scene.config is not None and scene.config.clock == "trust"
    if scene.status is not None:
        known = bool(scene.status.get("clock", {}).get("synced"))
    else:
        mode = scene.config.clock if scene.config else "auto"
        known = Clock(mode, Times(), Stamp(), scene.data_dir, root=scene.root).synced
    if not known:
        seen = f"not set: {_now()}; readings are marked and bridges hold them"
        found = fail(check, seen, f"{_SET_TIME}; or clock: trust if something else keeps it")
    elif kept:
        found = ok(check, "by a time service (the kernel says so)")
    elif trusted:
        found = ok(check, "trusted: clock: trust; no time service keeps it")
    else:
        seen = "later than the last time known, but no time service keeps it"
        found = warn(check, seen, _SET_TIME)
    return [found, _offset(scene)]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _unsynchronised() -> bool:
    """What the kernel says, which every time service tells it. With no modes set, adjtimex(2)
    changes nothing."""
    try:
        return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX))) in (
            _TIME_ERROR, -1,
        )  # fmt: skip
    except (OSError, AttributeError):
        return True


def _offset(scene: Scene) -> Finding:
    """Against the newest file of the journal: a clock may not be earlier than that."""
    check = "clock.offset"
    times = []
    for path in matching(scene.data_dir / "journal", "*.seg"):
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    if not times:
        return skip(check, "no journal yet to compare with")
    behind = max(times) - time.time()
    if behind > _BEHIND:
        seen = f"{behind:,.0f} s earlier than the journal's last write"
        return fail(check, seen, f"set the clock: {_SET_TIME}")
    return ok(check, "not earlier than the journal's last write")


def power(scene: Scene) -> list[Finding]:
    """A Pi's power supply: under-voltage corrupts cards and loses USB devices."""
    check = "machine.power"
    bits = raspberry.throttled(scene.root)
    if not bits:
        return [skip(check, "no Raspberry Pi, or its firmware does not say")]
    fix = "use the official power supply and a short, thick cable"
    for when in ("now", "seen"):
        bad = [name for name, on in bits.items() if on and name.endswith(when)]
        if bad:
            seen = ", ".join(name.partition(".")[0].replace("_", " ") for name in bad)
            since = "now" if when == "now" else "since it was switched on"
            cool = fix if any("volt" in name for name in bad) else "cool it: a heat sink or a fan"
            return [(fail if when == "now" else warn)(check, f"{seen} {since}", cool)]
    return [ok(check, "no under-voltage, no throttling")]


def temperature(scene: Scene) -> list[Finding]:
    """How hot it is."""
    check = "machine.temperature"
    found = dict(raspberry.temperatures(scene.root))
    if not found:
        return [skip(check, "no sensor")]
    name, hottest = max(found.items(), key=lambda item: item[1])
    seen = f"{hottest:.0f} °C ({name})"
    if hottest >= 82:
        return [fail(check, seen, "cool it: at 85 °C a Pi slows down to save itself")]
    if hottest >= 75:
        return [warn(check, seen, "cool it: a heat sink or a fan")]
    return [ok(check, seen)]


def memory(scene: Scene) -> list[Finding]:
    """How much is left."""
    check = "machine.memory"
    memory = psutil.virtual_memory()
    seen = f"{memory.available / 1e6:,.0f} of {memory.total / 1e6:,.0f} MB available"
    if memory.available < 50e6 or memory.percent >= 97:
        return [fail(check, seen, "stop other programs: ps aux --sort=-rss | head")]
    if memory.percent >= 90:
        return [warn(check, seen, "see what uses it: ps aux --sort=-rss | head")]
    return [ok(check, seen)]


def versions(scene: Scene) -> list[Finding]:
    """What runs here."""
    facts = software(scene.root)
    seen = ", ".join(f"{name} {facts[name]}" for name in ("berrygate", "python", "kernel", "os"))
    if missing := [name for name, number in facts.items() if number == "missing"]:
        return [
            fail("machine.versions", f"missing: {', '.join(missing)}", "install berrygate again")
        ]
    return [ok("machine.versions", seen)]


def software(root: Path) -> dict[str, str]:
    """Versions by name."""
    release = content(root / "etc/os-release") or ""
    names = dict(line.split("=", 1) for line in release.splitlines() if "=" in line)
    found = {
        "berrygate": __version__,
        "python": platform.python_version(),
        "kernel": f"{platform.release()} {platform.machine()}",
        "os": names.get("PRETTY_NAME", "unknown").strip('"'),
        "model": raspberry.model(root) or "unknown",
        "mosquitto": mosquitto() or "not installed",
    }
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def mosquitto() -> str | None:
    """The installed mosquitto's version; None where there is none."""
    said = output("mosquitto", "-h")
    if said is None:
        return None
    return next((word for word in said.split() if word[:1].isdigit()), "unknown version")
