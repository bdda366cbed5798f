"""The embedded broker lives and dies with the gateway."""

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest

from gateway.broker import BrokerOptions, EmbeddedBroker, accepts, answers
from gateway.broker.orphans import Orphans
from gateway.core.errors import ConfigError
from gateway.core.events import Connected, Disconnected, Event
from tests.support.mosquitto import mosquitto
from tests.support.ports import free_port


def broker(directory: Path, port: int, events: list[Event] | None = None) -> EmbeddedBroker:
    emit = (events if events is not None else []).append
    return EmbeddedBroker(directory, BrokerOptions(port=port), emit)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.02)


async def test_answers_while_inside_and_is_gone_after(tmp_path: Path) -> None:
    made = broker(tmp_path, free_port())
    async with made.running():
        assert await accepts(made.endpoint)
        pid = made.pid
        assert pid is not None
    assert not await answers(made.endpoint)
    assert not psutil.pid_exists(pid)
    assert (tmp_path / "mosquitto.db").exists()  # it wrote its sessions down


async def test_takes_as_many_clients_as_the_machine_lets_it(tmp_path: Path) -> None:
    """Each is a file; a shell gives 1,024, of which the broker would tell nobody."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    made, few = broker(tmp_path, free_port()), len(list(Path("/proc/self/fd").iterdir())) + 50
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, before[1]))
    try:
        async with made.running(), AsyncExitStack() as stack:
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == few, "the limit is not ours"
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            for number in range(2 * few):
                reader, writer = await asyncio.open_connection("127.0.0.1", made.endpoint.port)
                stack.callback(writer.close)
                writer.write(b"\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05%05d" % number)
                assert await asyncio.wait_for(reader.readexactly(4), 15) == b"\x20\x02\x00\x00"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_is_started_again_when_it_dies(tmp_path: Path) -> None:
    events: list[Event] = []
    made = broker(tmp_path, free_port(), events)
    async with made.running():
        first = made.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: made.pid not in (None, first) and not made.trouble)
        assert await accepts(made.endpoint)
        assert made.restarts == 1
    assert [type(event) for event in events] == [Connected, Disconnected, Connected]


PARENT = """
import asyncio, sys
from pathlib import Path
from gateway.broker import BrokerOptions, EmbeddedBroker
async def main():
    made = EmbeddedBroker(Path(sys.argv[1]), BrokerOptions(port=int(sys.argv[2])), lambda e: None)
    async with made.running():
        print(made.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_is_started_again_once_its_directory_can_be_used_again(tmp_path: Path) -> None:
    made = broker(tmp_path, free_port())
    async with made.running():
        there, first = tmp_path.with_name("elsewhere"), made.pid
        assert first is not None
        tmp_path.rename(there)
        os.kill(first, signal.SIGKILL)
        await until(lambda: "No such file" in made.trouble)
        there.rename(tmp_path)
        await until(lambda: not made.trouble)
        assert await accepts(made.endpoint)


async def test_needs_no_file_for_its_process(tmp_path: Path) -> None:
    (tmp_path / "mosquitto.pid").mkdir()
    made = broker(tmp_path, free_port())
    async with made.running():
        assert await accepts(made.endpoint)


async def test_a_start_that_is_given_up_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tmp_path / "bin" / "mosquitto"
    silent.parent.mkdir()
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    monkeypatch.setenv("PATH", f"{silent.parent}:{os.environ['PATH']}")
    made = broker(tmp_path / "data", free_port())

    async def run() -> None:
        async with made.running():
            pass

    starting = asyncio.create_task(run())
    await until(lambda: made.pid is not None)
    pid = made.pid
    assert pid is not None
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    assert not psutil.pid_exists(pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_stays_who_we_are_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER"):
        monkeypatch.setenv(name, "nobody")
    directory = tmp_path / "a directory"
    directory.mkdir(mode=0o700)
    port = free_port()
    async with broker(directory, port).running():
        # It listens before it is ready to be told to end.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")
        assert await asyncio.wait_for(reader.readexactly(4), 15) == b"\x20\x02\x00\x00"
        writer.close()
    assert (directory / "mosquitto.db").exists()


async def test_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), str(free_port()), stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await asyncio.wait_for(parent.stdout.readline(), 15))
    parent.kill()
    await parent.wait()
    await until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


async def test_an_orphan_of_an_earlier_life_is_reclaimed(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "left") as left:
        assert left.process is not None
        created = psutil.Process(left.process.pid).create_time()
        directory = tmp_path / "ours"
        directory.mkdir()
        (directory / "mosquitto.pid").write_text(f"{left.process.pid} {created}")
        made = broker(directory, left.port)
        async with made.running():
            assert not made.foreign
            assert made.pid != left.process.pid
            assert left.process.wait(5) is not None


async def test_an_orphan_without_a_pid_file_is_reclaimed(tmp_path: Path) -> None:
    """The disk was full when it was to be noted. Used as a stranger's it would never end."""
    first = broker(tmp_path, free_port())
    async with first.running():
        assert first.pid is not None
        orphan = psutil.Process(first.pid)
        (tmp_path / "mosquitto.pid").unlink()
        await Orphans(tmp_path).reclaim(first.endpoint)
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


async def test_a_broker_that_wants_a_password_is_a_clear_error(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "theirs", "allow_anonymous false") as theirs:
        made = broker(tmp_path / "ours", theirs.port)
        with pytest.raises(
            ConfigError, match=r"mosquitto \(process \d+\) .* does not let us in"
        ) as no:
            async with made.running():
                pass
        assert "with a username" in (no.value.fix or "")
        assert theirs.process is not None
        assert theirs.process.poll() is None


async def test_a_number_given_to_another_process_is_not_ended(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "other") as other:
        assert other.process is not None
        directory = tmp_path / "ours"
        directory.mkdir()
        (directory / "mosquitto.pid").write_text(f"{other.process.pid} 12345.0")
        async with broker(directory, free_port()).running():
            assert other.process.poll() is None


async def test_a_broker_that_is_there_and_lets_us_in_is_used(tmp_path: Path) -> None:
    with mosquitto(tmp_path / "theirs") as theirs:
        made = broker(tmp_path / "ours", theirs.port)
        async with made.running():
            assert made.foreign
            assert made.pid is None
        assert await answers(made.endpoint)  # theirs is left alone


async def test_a_port_that_something_else_has_is_a_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = broker(tmp_path, server.getsockname()[1])
        with pytest.raises(ConfigError, match="does not let us in") as refused:
            async with made.running():
                pass
        assert "broker.port" in (refused.value.fix or "")


async def test_without_mosquitto_the_fix_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(ConfigError, match="not installed") as refused:
        async with broker(tmp_path, free_port()).running():
            pass
    assert "apt install mosquitto" in (refused.value.fix or "")
