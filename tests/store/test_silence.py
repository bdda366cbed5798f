"""How long a device has said nothing does not depend on what the clock is set to."""

import time
from importlib.resources import files
from pathlib import Path

import pytest

from gateway.core.contracts import Reading
from gateway.io.sqlite.database import Database
from gateway.store.devices import Devices


def test_a_jump_makes_no_device_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(tmp_path / "state.db", files("gateway.store") / "migrations" / "state")
    devices = Devices(database)
    name = devices.id_of("pump", "mqtt")
    assert devices.get(name).silent is None
    real = time.time_ns
    for number in range(4):
        jump = (-1) ** number * 86_400 * 10**9
        monkeypatch.setattr(time, "time_ns", lambda jump=jump: real() + jump)
        devices.seen([Reading(name, 1, {"a": 1.0})])
    monkeypatch.setattr(time, "time_ns", lambda: real() + 365 * 86_400 * 10**9)
    silent = devices.get(name).silent
    assert silent is not None
    assert silent < 30
    assert 0 <= devices.get(name).interval < 30
    database.close()
