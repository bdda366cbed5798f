"""This machine as a device: what it has is there, what it lacks is not."""

import asyncio
import logging
import os
import threading
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import ValidationError

from devices.system import SystemDevice, SystemSettings
from gateway.core.contracts import Context, Endpoint
from gateway.io import raspberry


def device(root: Path = Path("/"), **facts: Any) -> SystemDevice:
    context = Context("gw", "berrygate", Path("/tmp"), Endpoint(), lambda event: None, facts=facts)
    return SystemDevice("pi", 0.05, context, root)


def lay(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


async def test_first_reading_is_whole_and_others_follow() -> None:
    bursts = device().listen()
    first = await asyncio.wait_for(anext(bursts), 5)
    assert first.readings is not None
    values = first.readings[0].values
    for metric in ("cpu.percent", "cpu.0.percent", "memory.percent", "disk.root.percent", "load.1",
                   "cpu.iowait.percent", "uptime", "boot_time", "gateway.memory.rss",
                   "gateway.threads", "net.lo.rx"):  # fmt: skip
        assert isinstance(values[metric], float), metric
    assert 0 < float(values["memory.percent"]) < 100
    second = await asyncio.wait_for(anext(bursts), 5)
    assert second.readings is not None
    assert second.readings[0].time > first.readings[0].time
    assert any(name.endswith(".rx") for name in second.readings[0].values)


def test_the_brokers_process_is_watched_while_there_is_one() -> None:
    assert "broker.memory.rss" not in device().sample()
    assert "broker.memory.rss" in device(broker_pid=os.getpid).sample()


def test_what_a_machine_lacks_is_left_out(tmp_path: Path) -> None:
    values = device(tmp_path).sample()
    assert not [name for name in values if name.startswith(("temperature", "throttled", "under"))]
    assert not [name for name in values if name.startswith("connections")]
    assert "memory.percent" in values


def test_temperature_and_power_of_a_pi(tmp_path: Path) -> None:
    lay(tmp_path, {
        "sys/class/thermal/thermal_zone0/temp": "48312\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone1/temp": "",  # refuses to be read
        "sys/class/thermal/thermal_zone1/type": "broken\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    })  # fmt: skip
    values = device(tmp_path).sample()
    assert values["temperature.cpu-thermal"] == 48.312
    assert values["undervoltage.now"] is True
    assert values["throttled.now"] is True
    assert values["undervoltage.seen"] is True
    assert values["frequency_capped.now"] is False
    assert device(tmp_path).info()["model"] == "Raspberry Pi 4 Model B Rev 1.4"


def test_sensors_of_one_name_do_not_hide_each_other(tmp_path: Path) -> None:
    thermal, hwmon = "sys/class/thermal/thermal_zone", "sys/class/hwmon/hwmon"
    lay(tmp_path, {
        f"{thermal}0/temp": "20000", f"{thermal}0/type": "acpitz",
        f"{thermal}1/temp": "30000", f"{thermal}1/type": "acpitz",
        f"{thermal}2/temp": "41000", f"{thermal}2/type": "cpu-thermal",
        f"{hwmon}0/temp1_input": "41000", f"{hwmon}0/name": "cpu_thermal",
        f"{hwmon}1/temp1_input": "38500", f"{hwmon}1/name": "nvme",
        f"{hwmon}1/temp1_label": "Composite\n",
        f"{hwmon}2/temp1_input": "-4250", f"{hwmon}2/name": "w1_slave",
    })  # fmt: skip
    values = device(tmp_path).sample()
    assert {name: value for name, value in values.items() if name.startswith("temperature")} == {
        "temperature.acpitz": 20.0,
        "temperature.acpitz_2": 30.0,
        "temperature.cpu-thermal": 41.0,
        "temperature.nvme_Composite": 38.5,
        "temperature.w1_slave": -4.25,
    }


def test_a_newer_pi_has_the_power_file_elsewhere(tmp_path: Path) -> None:
    lay(tmp_path, {
        "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled": "10000"
    })  # fmt: skip
    assert raspberry.throttled(tmp_path)["undervoltage.seen"] is True


def test_a_partition_is_counted_with_its_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path, {"sys/class/block/mmcblk0p1/partition": "1"})
    count = psutil.disk_io_counters()
    disks = {"mmcblk0": count, "mmcblk0p1": count, "loop3": count, "zram0": count}
    monkeypatch.setattr("psutil.disk_io_counters", lambda perdisk: disks)
    machine = device(tmp_path)
    machine.sample()
    found = [name for name in machine.sample() if name.startswith("disk_io")]
    assert found == ["disk_io.mmcblk0.read", "disk_io.mmcblk0.write"]


def test_a_metric_has_one_unit_at_most() -> None:
    machine = device(broker_pid=os.getpid)
    machine.sample()
    units = machine.info()["units"]
    for metric in machine.sample():
        found = [unit for pattern, unit in units.items() if fnmatchcase(metric, pattern)]
        assert len(found) <= 1, metric
    assert "%" in units.values()


@pytest.mark.parametrize("interval", ["0s", "99ms"])
def test_an_interval_that_would_spin_is_refused(interval: str) -> None:
    with pytest.raises(ValidationError):
        SystemSettings.model_validate({"type": "system", "interval": interval})


async def test_exit_does_not_wait_for_a_disk_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, answer = threading.Event(), threading.Event()
    threads = []

    def dead(**_: Any) -> Any:
        threads.append(threading.current_thread())
        asked.set()
        answer.wait(60)
        return []

    monkeypatch.setattr("psutil.disk_partitions", dead)
    task = asyncio.ensure_future(anext(device().listen()))
    while not asked.is_set():
        await asyncio.sleep(0.01)
    assert threads[0].daemon  # the interpreter waits for others
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    answer.set()


def test_vcgencmd_is_asked_where_there_is_no_file(tmp_path: Path) -> None:
    command = tmp_path / "usr/bin/vcgencmd"
    lay(tmp_path, {"usr/bin/vcgencmd": "#!/bin/sh\necho throttled=0x50000\n"})
    command.chmod(0o755)
    found = raspberry.throttled(tmp_path)
    assert found["undervoltage.seen"] is True
    assert found["undervoltage.now"] is False
    command.write_text("#!/bin/sh\nexit 1\n")
    assert raspberry.throttled(tmp_path) == {}


def test_connections_are_counted_by_state(tmp_path: Path) -> None:
    line = " 0: 0100007F:1F90 00000000:0000 {} 00000000:00000000 00:00000000 00000000 0 0 1"
    rows = "\n".join(
        ["  sl  local_address", line.format("0A"), line.format("01"), line.format("01")]
    )
    values = device(lay(tmp_path, {"proc/net/tcp": rows})).sample()
    assert values["connections.listen"] == 1.0
    assert values["connections.established"] == 2.0


@pytest.mark.parametrize("error", [OSError, NotImplementedError])
def test_one_failing_probe_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: type[Exception]
) -> None:
    caplog.set_level(logging.INFO)

    def broken(**_: Any) -> Any:
        raise error("no such thing")

    machine = device()
    with monkeypatch.context() as patched:
        patched.setattr("psutil.disk_partitions", broken)
        for _ in range(3):
            values = machine.sample()
    assert "memory.percent" in values
    assert not [name for name in values if name.startswith("disk.")]
    assert caplog.text.count("no disks") == 1  # told once, not each second
    assert "disk.root.percent" in machine.sample()
    machine.sample()
    assert caplog.text.count("disks again") == 1
