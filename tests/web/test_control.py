"""The control socket, with real peers."""

import asyncio
import json
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import ConfigError
from gateway.web import control
from gateway.web.sockets import connect, listen, socket_paths
from tests.support.small_house import STARTED, SmallHouse, open_directory


@pytest.fixture
async def path(house: SmallHouse, tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "control.sock"
    async with control.serving(house, [path]):
        yield path


async def say(path: Path, line: bytes) -> Any:
    """The answer to one line."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(line)
        return json.loads(await reader.readline())
    finally:
        writer.close()


async def ask(path: Path, call: str, **args: Any) -> Any:
    return await say(path, json.dumps({"call": call, "args": args}).encode() + b"\n")


async def test_calls(path: Path, house: SmallHouse) -> None:
    assert await ask(path, "status") == {"ok": house.status()}
    assert await ask(path, "devices") == {"ok": house.devices()}
    assert await ask(path, "device", device="soil-4") == {"ok": house.device("soil-4")}
    assert await ask(path, "bridges") == {"ok": house.bridges()}
    assert await ask(path, "health") == {"ok": house.health()}
    assert await ask(path, "performance") == {"ok": house.performance()}
    assert len((await ask(path, "series"))["ok"]) == 3
    found = await ask(path, "query", device="soil-4", metric="moisture", start="-1h", points=5)
    assert found["ok"]["points"] == [[STARTED, 21.5], [STARTED + 1000, None]]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"nonsense\n", "usage"),
        (b"\xff\xfe\x00\n", "usage"),
        (b"[]\n", "usage"),
        (b"[" * 60_000 + b"\n", "usage"),
        (b'{"call": "reboot"}\n', "usage"),
        (b'{"call": "status", "args": {"x": 1}}\n', "usage"),
        (b'{"call": "status", "more": 1}\n', "usage"),
        (b'{"call": "tail", "args": {"filter": 5}}\n', "usage"),
        (b'{"call": "query", "args": {"device": "soil-4"}}\n', "usage"),
        (b'{"call": "device", "args": {"device": "soil-9"}}\n', "unknown"),
        (b'{"call": "' + b"x" * 100_000 + b'"}\n', "usage"),
    ],
)
async def test_garbage_is_answered_and_disturbs_nobody(path: Path, line: bytes, kind: str) -> None:
    reader, writer = await asyncio.open_unix_connection(path)
    other = asyncio.create_task(ask(path, "version"))
    assert (await say(path, line))["error"]["type"] == kind
    assert "ok" in await other
    # Who was connected before is served as well.
    writer.write(b'{"call": "version"}\n')
    assert "ok" in json.loads(await reader.readline())
    writer.close()


async def test_an_error_does_not_end_the_connection(path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'nonsense\n{"call": "version"}\n')
    assert "error" in json.loads(await reader.readline())
    assert "ok" in json.loads(await reader.readline())
    writer.close()


async def test_a_bug_behind_a_call_is_answered(
    house: SmallHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> dict[str, Any]:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(house, "health", fails)
    path = tmp_path / "control.sock"
    async with control.serving(house, [path]):
        answer = await ask(path, "health")
    assert answer["error"]["type"] == "failed"
    assert "hunter2" not in str(answer)


async def test_an_answer_that_cannot_be_written_does_not_end_the_connection(
    path: Path, house: SmallHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house, "health", lambda: {"why": "\ud800"})
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"call": "health"}\n{"call": "version"}\n')
    assert json.loads(await reader.readline())["error"]["type"] == "failed"
    assert "ok" in json.loads(await reader.readline())
    writer.close()


async def test_tail_until_the_client_hangs_up(path: Path, house: SmallHouse) -> None:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"call": "tail", "args": {"filter": "soil-*"}}\n')
    lines = [json.loads(await reader.readline()) for _ in range(4)]
    assert lines[0] == {"ok": None}
    assert lines[1]["next"] == {
        "device": "soil-4",
        "time": STARTED,
        "values": {"moisture": 31.0, "open": False},
        "clock": "unsynced",
        "late": False,
        "historical": False,
    }
    assert {line["next"]["device"] for line in lines[1:]} == {"soil-4"}
    assert lines[2]["next"]["clock"] == "synced"
    assert house.tails == 1
    writer.close()
    await _no_tails(house)


async def test_who_hangs_up_is_noticed_though_nothing_arrives(
    path: Path, house: SmallHouse
) -> None:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"call": "tail", "args": {"filter": "nobody"}}\n')
    assert json.loads(await reader.readline()) == {"ok": None}
    async with asyncio.timeout(10):
        while not house.tails:
            await asyncio.sleep(0.01)
    writer.close()
    await _no_tails(house)


async def _no_tails(house: SmallHouse) -> None:
    async with asyncio.timeout(10):
        while house.tails:
            await asyncio.sleep(0.01)


async def test_stops_though_clients_stay(house: SmallHouse, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with asyncio.timeout(10), control.serving(house, [path]):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"call": "tail"}\n')
        await reader.readline()
        idle, idle_writer = await asyncio.open_unix_connection(path)
        await ask(path, "version")
    assert await idle.read() == b""
    assert house.tails == 0
    assert not path.exists()
    writer.close()
    idle_writer.close()


async def test_too_many_clients_are_told(path: Path) -> None:
    opened = [await asyncio.open_unix_connection(path) for _ in range(64)]
    for reader, writer in opened:
        writer.write(b'{"call": "version"}\n')
        await reader.readline()
    reader, writer = await asyncio.open_unix_connection(path)
    assert "too many" in json.loads(await reader.readline())["error"]["message"]
    for _, each in (*opened, (reader, writer)):
        each.close()


async def test_mode_lets_in_owner_and_group_only(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


ASK = """
import os, socket, sys
os.setgroups([int(group) for group in sys.argv[4:]])
os.setgid(int(sys.argv[3]))
os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    try:
        connection.sendall(b'{"call": "version"}\\n')
    except BrokenPipeError:
        pass  # refused before we could ask
    print(connection.makefile().readline())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    ("uid", "gid", "groups", "allowed"),
    [
        (0, 65534, [], True),
        (pwd.getpwnam("nobody").pw_uid, os.getegid(), [], True),
        (pwd.getpwnam("nobody").pw_uid, 65534, [1, os.getegid()], True),
        (pwd.getpwnam("nobody").pw_uid, 65534, [1], False),
        (pwd.getpwnam("nobody").pw_uid, 65534, list(range(1, 400)), False),
    ],
)
async def test_the_kernel_tells_who_may(
    house: SmallHouse, uid: int, gid: int, groups: list[int], allowed: bool
) -> None:
    with open_directory() as directory:
        path = directory / "control.sock"
        async with control.serving(house, [path]):
            path.chmod(0o666)  # so that what decides is our own check and not the file's mode
            arguments = [str(path), str(uid), str(gid), *map(str, groups)]
            peer = await asyncio.create_subprocess_exec(
                sys.executable, "-c", ASK, *arguments, stdout=subprocess.PIPE
            )
            output, _ = await peer.communicate()
    assert peer.returncode == 0
    answer = json.loads(output)
    assert ("ok" in answer) is allowed
    if not allowed:
        assert answer["error"]["type"] == "denied"


async def test_paths_longer_than_a_socket_address(house: SmallHouse, tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 100) / ("y" * 100)
    directory.mkdir(parents=True)
    path = directory / "control.sock"
    async with control.serving(house, [path]):
        assert stat.S_ISSOCK(path.stat().st_mode)
        with await asyncio.to_thread(connect, path, 5.0) as connection:
            await asyncio.to_thread(connection.sendall, b'{"call": "version"}\n')
            assert b"ok" in await asyncio.to_thread(connection.recv, 1000)
    assert not path.exists()


async def test_what_a_killed_gateway_left_is_replaced(house: SmallHouse, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    listen(path).close()
    assert path.exists()
    async with control.serving(house, [path]):
        assert "ok" in await ask(path, "version")


async def test_a_second_gateway_is_refused(house: SmallHouse, path: Path) -> None:
    with pytest.raises(ConfigError, match="another gateway"):
        await control.serve(house, [path])
    assert "ok" in await ask(path, "version")


async def test_what_is_in_the_way_is_not_removed(house: SmallHouse, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="in the way"):
        await control.serve(house, [path])
    assert path.read_text() == "precious"


async def test_a_directory_that_is_not_there(house: SmallHouse, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot make the control socket"):
        await control.serve(house, [tmp_path / "nothing" / "control.sock"])


def test_also_in_the_run_time_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    assert socket_paths(Path("/var/lib/berrygate")) == [Path("/var/lib/berrygate/control.sock")]
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/berrygate:/run/other")
    assert socket_paths(Path("/d"))[1:] == [Path("/run/berrygate/control.sock")]
