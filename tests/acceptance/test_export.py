"""An export of much history: InfluxDB takes it, memory does not grow, readings go on coming."""

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np

from gateway.store.buffers import NOWHERE, Stream
from gateway.store.checksums import checksum
from gateway.store.chunks import Samples
from gateway.store.history import History
from gateway.store.loading import SQL, metrics_text
from gateway.store.settling import write_chunk
from tests.support.command import environment
from tests.support.gateway import Gateway, gateway
from tests.support.influx import influx_1
from tests.support.ports import free_port
from tests.support.publisher import Publisher

NOW = time.time_ns() // 10**9 * 10**9
ROWS = 1_024


async def fill(directory: Path, series: dict[str, int]) -> None:
    """History with so many samples of a metric `x` of each device, one a second."""
    history = History(directory, 365 * 86_400.0)

    def job(c) -> None:  # type: ignore[no-untyped-def]
        for device, count in series.items():
            stream = Stream((device, ("x",)))
            row = (device, metrics_text(stream.key[1]), 0)
            (number,) = c.execute(SQL["add_stream"], (*row, checksum(*row))).fetchone()
            for first in range(0, count, ROWS):
                place = np.arange(first, min(first + ROWS, count), dtype=np.int64)
                samples = Samples(NOW - (count - place) * 10**9, [20 + place % 1_000 / 10])
                write_chunk(c, (number, -1, -1), samples, NOWHERE)

    await history.database.write(job)
    await history.close()


def resident(pid: int, what: str = "VmRSS") -> int:
    """How much memory a process has, or had at most (VmHWM), in bytes; see proc(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) * 1_024


def export(house: Gateway, *args: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gateway", "export", *args, "-c", str(house.config)]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE)


def test_memory_stays_and_readings_go_on(tmp_path: Path) -> None:
    count = 3_000_000
    series = {"long": count, **{f"short-{n}": 1_000 for n in range(500)}}
    asyncio.run(fill(tmp_path / "data", series))
    history = {"retention": "365d"}
    with gateway(tmp_path, broker={"port": free_port()}, history=history) as house:
        first = export(house, "--device", "short-1")
        first.communicate()  # what is imported once is not growth
        before = resident(house.pid)
        Path(f"/proc/{house.pid}/clear_refs").write_text("5")
        publisher = Publisher(house.broker_port, 3)
        publishing = threading.Thread(target=publisher.run, args=(0, 3_000, 500))
        publishing.start()
        running = export(house, "--device", "long", "--device", "short-*")
        assert running.stdout is not None
        lines, slowest = 0, 0.0
        while data := running.stdout.read(4_000_000):
            lines += data.count(b"\n")
            began = time.monotonic()
            assert house.get("/healthz").status_code == 200
            slowest = max(slowest, time.monotonic() - began)
        assert running.wait(10) == 0
        assert lines == 1 + sum(series.values())
        publishing.join(60)
        publisher.close()
        grown = resident(house.pid, "VmHWM") - before
        print(f"grown {grown / 1e6:.1f} MB, slowest answer beside it {slowest * 1000:.0f} ms")
        assert grown < 40_000_000
        assert slowest < 2
        house.wait(lambda: len(house.values("d0", "seq", points=10_000)) == 1_000)
        assert not any(house.differences().values())


def test_influxdb_takes_every_line(tmp_path: Path) -> None:
    lines = [
        f'd{n % 3} t={n / 7},n={n}i,a\\ b\\,\\=c="say \\"{n}\\" \\\\ ü, x=1 2",ok=true '
        f"{NOW - n * 10**9}"
        for n in range(6_000)
    ]
    path = tmp_path / "in.lp"
    path.write_text("\n".join(lines))
    with (
        influx_1(tmp_path / "influx") as influx,
        gateway(tmp_path / "house", broker={"port": free_port()}, devices=[]) as house,
    ):
        assert house.command("import", str(path)).returncode == 0
        answer = httpx.post(
            f"{influx.url}/write",
            params={"db": "test"},
            content=house.get("/api/v1/export", format="line").content,
            timeout=60,
        )
        assert answer.status_code == 204, answer.text
        for device in ("d0", "d1", "d2"):
            assert len(influx.values(device, "t")) == 2_000
        stored = influx.query('SELECT * FROM "d1"')[0]
        row = dict(zip(stored["columns"], stored["values"][-1], strict=True))
        assert row == {
            "time": NOW - 10**9, "t": 1 / 7, "n": 1, "ok": True,
            "a b,=c": 'say "1" \\ ü, x=1 2',
        }  # fmt: skip
