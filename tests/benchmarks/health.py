"""What health costs with 10,000 devices: to look at them, to hear them, to remember their rhythm.

`python -m tests.benchmarks.health`; prints, asserts nothing.
"""

import random
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

from gateway.config.health import HealthSettings
from gateway.core.contracts import Reading
from gateway.io.sqlite.database import Database
from gateway.runtime.listening import Around, Listening
from gateway.stages.health import Health
from gateway.store.devices import Device, Devices

COUNT = 10_000
SECONDS = 60
INTERVAL = 10


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "state.db"
        database = Database(path, files("gateway.store") / "migrations" / "state")
        devices = Devices(database, limit=COUNT)
        try:
            measure(devices)
        finally:
            database.close()


def measure(devices: Devices) -> None:
    """A minute of devices that send every 10 s, in time that is the benchmark's own."""
    names = [devices.id_of(f"d{n}", "mqtt") for n in range(COUNT)]
    health = Health(HealthSettings().rules())
    around = Around(health.rules, lambda: 60.0)
    for device in devices.list():
        health.watch(device.id, Listening(device, around))
    turns = [list(health.devices.values())[n::28] for n in range(28)]
    real, ahead = time.monotonic, [0.0]
    time.monotonic = lambda: 1e6 + ahead[0]  # type: ignore[assignment]
    chance = random.Random(1)
    chance.shuffle(names)
    hearing = looking = 0.0
    try:
        for second in range(3 * SECONDS):
            ahead[0] += 1
            part = names[second % INTERVAL :: INTERVAL]
            readings = [Reading(name, 1, {"a": 1.0}) for name in part]
            began = time.process_time()
            devices.seen(readings)
            heard = time.process_time()
            health.evaluate()
            for device in turns[second % 28]:
                health.look(device)
            looked = time.process_time()
            if second >= 2 * SECONDS:
                hearing += heard - began
                looking += looked - heard
        began = time.process_time()
        for device in health.devices.values():
            health.look(device)
        plain = time.process_time() - began
    finally:
        time.monotonic = real
    readings_heard = COUNT * SECONDS / INTERVAL
    print(f"{COUNT} devices, each heard every {INTERVAL} s")
    print(f"look at all of them once:        {1e3 * plain:8.2f} ms, {100 * plain:.2f} % of a core")
    each, share = 1e3 * looking / SECONDS, 100 * looking / SECONDS
    print(f"look at those that are due:      {each:8.2f} ms a second, {share:.2f} % of a core")
    print(f"hear a reading, rhythm included: {1e6 * hearing / readings_heard:8.2f} us")
    quick(devices, names)
    sizes = [rhythm_size(device) for device in devices.list()]
    print(f"rhythm: {sum(sizes) / COUNT:.0f} bytes a device")


def quick(devices: Devices, names: list[str]) -> None:
    """A reading of a device that sends often, which needs no rhythm."""
    readings = [Reading(names[n % 100], 1, {"a": 1.0}) for n in range(500)]
    devices.seen(readings)
    best = 1e9
    for _ in range(200):
        began = time.perf_counter()
        devices.seen(readings)
        best = min(best, time.perf_counter() - began)
    print(f"hear a reading of a quick device:{1e6 * best / len(readings):8.3f} us")


def rhythm_size(device: Device) -> int:
    """Bytes."""
    rhythm = device.rhythm
    if rhythm is None:
        return 0
    return sys.getsizeof(rhythm) + sum(
        sys.getsizeof(getattr(rhythm, name)) for name in rhythm.__slots__
    )


if __name__ == "__main__":
    main()
