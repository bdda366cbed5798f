"""A disk that fails at fdatasync: what it failed to make durable is not acknowledged.

Which readings survive a power cut after such an error is tried in test_power_cuts.py.
"""

import time
from pathlib import Path

import pytest

from tests.support.disks import errors, needs_strace
from tests.support.faults import FULL, outcome
from tests.support.mosquitto import mosquitto
from tests.support.troubled import RATE, Load, everything_arrived, gateway_on, resumed

SECONDS = 60 if FULL else 5


@needs_strace
@pytest.mark.timeout(300)
def test_an_fdatasync_that_fails_now_and_then_loses_and_repeats_nothing(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path / "broker") as broker,
        gateway_on(tmp_path, broker, tmp_path / "home") as house,
    ):
        assert house.process is not None
        with Load(broker.port) as load:
            house.wait(lambda: house.api("status")["journal"]["next"] > RATE)
            with errors(house.process.pid, "EIO", "fdatasync", "2+3"):
                time.sleep(SECONDS)
                assert house.get("/healthz").status_code == 200
            resumes = resumed(house)
        everything_arrived(house, load.sent)
        refusals = house.log.read_text().count("the disk refuses")
        assert refusals > 0, "the error was never met"
        segments = house.api("status")["journal"]["segments"]
        assert segments > 1, "a file whose fdatasync failed was written again"
        house.kill()
        house.start()
        everything_arrived(house, load.sent)
        assert resumes <= 5
    outcome("disk-errors", seconds=SECONDS, messages=load.sent, refusals=refusals, lost=0)
