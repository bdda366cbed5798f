"""`berrygate bench`, in short: every figure is there and can be true, nothing is lost, nothing is
left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.bench import run as running
from gateway.bench import subject
from gateway.bench.disk import disk_of, sync_times
from gateway.bench.figures import Report
from gateway.bench.processes import cpu, program
from gateway.bench.run import Options
from tests.support.command import environment

SHORT = ["--seconds", "5", "--rate", "300", "--devices", "10"]
KNOWN = {
    "fdatasync_p50", "fdatasync_p99", "start_to_ready", "cpu_idle", "cpu_paced", "cpu_broker",
    "latency_p50", "latency_p95", "latency_p99", "written", "written_per_day", "written_device",
    "cpu_saturated", "throughput", "lost", "paho_paced", "ratio_paced", "paho_saturated",
    "ratio_saturated", "memory", "memory_peak", "memory_broker",
}  # fmt: skip


def bench(directory: Path, *arguments: str) -> "subprocess.Popen[str]":
    options = [*SHORT, "--data-dir", str(directory), *arguments]
    return subprocess.Popen(
        [sys.executable, "-m", "gateway", "bench", *options],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def processes(directory: Path) -> list[str]:
    """Command lines of everything that runs in `directory`."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in line and "gateway bench" not in line:
            found.append(line)
    return found


def children(pid: int) -> list[int]:
    """Processes that `pid` has started and that have not ended."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(directory: Path) -> bool:
    deadline = time.monotonic() + 20
    while processes(directory) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not processes(directory)


def test_every_figure_is_there_and_can_be_true(tmp_path: Path) -> None:
    process = bench(tmp_path, "--json")
    out, err = process.communicate(timeout=110)
    assert (process.returncode, err) == (0, "")
    found = json.loads(out)
    assert found["figures"].keys() == KNOWN
    values = {key: each["value"] for key, each in found["figures"].items()}
    for key, each in found["figures"].items():
        assert each["meaning"]
        known = each["value"] is not None
        assert known != ("missing" in each), key
        assert not known or each["value"] > 0 or key in ("lost", "cpu_idle"), key
    assert values["lost"] == 0
    assert found["lost"] == {}
    assert set(found["counts"]) == {"publisher", "journal", "history", "sink"}
    assert len(set(found["counts"].values())) == 1
    assert found["counts"]["publisher"] > 1_000 + 300
    assert values["latency_p50"] <= values["latency_p95"] <= values["latency_p99"]
    assert values["fdatasync_p50"] is None or values["fdatasync_p50"] <= values["fdatasync_p99"]
    assert values["memory"] <= values["memory_peak"]
    assert values["memory"] > 20
    assert values["ratio_paced"] == pytest.approx(values["cpu_paced"] / values["paho_paced"])
    assert found["setting"]["rate"] == 300
    assert list(tmp_path.iterdir()) == []
    assert gone(tmp_path)


def test_what_people_see(tmp_path: Path) -> None:
    process = bench(tmp_path)
    out, err = process.communicate(timeout=110)
    assert (process.returncode, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("Berrygate ")
    assert "paced: 300 messages/s" in out
    for start in ("start to ready", "CPU a message, paced", "latency p99", "written a day", "lost",
                  "messages/s", "plain paho, paced", "fdatasync p99", "memory"):  # fmt: skip
        assert any(line.startswith(start) for line in lines), start
    assert "note: publisher, broker and sink ran on this machine too" in out
    assert max(map(len, lines[3:-5])) <= 110


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)]
)
@pytest.mark.parametrize("after", [0.3, 5.0])
def test_a_signal_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals, code: int, after: float
) -> None:
    process = bench(tmp_path)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/gateway.log")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(after)
    mine = children(process.pid)
    assert mine, "it was to be interrupted while it measures"
    os.killpg(process.pid, number)  # as a terminal does: to all of the group
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, "", "")
    assert list(tmp_path.iterdir()) == []
    assert gone(tmp_path)
    assert not [pid for pid in mine if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_process_starts_leaves_none_behind(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    made: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def interrupted(*args: Any, **options: Any) -> "subprocess.Popen[bytes]":
        made.append(real(*args, **options))
        os.kill(os.getpid(), number)
        time.sleep(0.1)
        return made[-1]

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    before = signal.signal(number, stop)
    try:
        with pytest.raises(KeyboardInterrupt), program("http.server", "0", "-b", "127.0.0.1"):
            pytest.fail("nothing is begun any more")
        assert made[0].poll() is not None
    finally:
        signal.signal(number, before)
        made[0].kill()


def test_killed_it_leaves_no_process(tmp_path: Path) -> None:
    process = bench(tmp_path)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/data/control.sock")) and time.monotonic() < deadline:
        time.sleep(0.02)
    mine = children(process.pid)
    process.kill()
    process.communicate()
    assert gone(tmp_path)
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in mine) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in mine if Path(f"/proc/{pid}").exists()]


def measured(directory: Path) -> Report:
    return running.run(Options(seconds=5, rate=300, devices=2, data_dir=directory))


def test_a_loss_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that refuses what is over a device's rate."""
    whole = subject.configuration
    monkeypatch.setattr(
        subject,
        "configuration",
        lambda *args: {**whole(*args), "limits": {"rate": 10, "burst": 600}},
    )
    report = measured(tmp_path)
    assert set(report.lost) == {"journal", "history", "sink"}
    counts = report.counts
    assert report.lost["journal"] == counts["publisher"] - counts["journal"] > 0
    assert report.value("lost") == max(report.lost.values())


def test_without_the_influxdb_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running.importlib.util, "find_spec", lambda name: None)
    report = measured(tmp_path)
    assert any("influxdb-client is not installed" in note for note in report.notes)
    missing = {figure.key for figure in report.figures if figure.value is None}
    assert {"latency_p50", "latency_p95", "latency_p99"} <= missing
    assert report.value("throughput")
    assert set(report.counts) == {"publisher", "journal", "history"}
    assert report.lost == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seconds", "1"], "a number from 5"),
        (["--rate", "many"], "a number from 1"),
        (["--devices", "0"], "a number from 1"),
        (["--data-dir", "/proc/nowhere"], "cannot make a directory in /proc/nowhere"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "bench", *arguments],
        env=environment(), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert " fix: " in done.stderr


def test_what_lies_in_memory_is_no_disk(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if disk_of(memory).kind != "tmpfs":
        pytest.skip("no file system in memory here")
    found = disk_of(memory)
    assert found.written() is None
    assert "not a disk" in found.why
    here = disk_of(tmp_path)
    if here.device:
        before: Any = here.written()
        sync_times(tmp_path, 0.2)
        assert here.written() > before
    assert list(tmp_path.iterdir()) == []


def test_the_processor_clock_of_another_process() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            time.sleep(0.5)
            first = cpu(process.pid)
            time.sleep(0.5)
            assert cpu(process.pid) > first
        finally:
            process.kill()
    assert cpu(process.pid) == 0
    assert cpu(os.getpid()) == pytest.approx(time.process_time(), abs=0.2)
