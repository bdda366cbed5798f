"""An export over HTTP: a stream that is whole, or seen not to be."""

import asyncio
import json
import socket
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.core.contracts import Reading
from gateway.store import stretches
from gateway.store.exporting import Export, Selection
from gateway.web import control
from tests.support.small_house import STARTED, SmallHouse

PATH = "/api/v1/export"
COUNT = 120_000


@pytest.fixture
async def full(house: SmallHouse) -> SmallHouse:
    """Much more than any buffer on the way holds."""
    readings = [Reading("soil-4", STARTED * 10**6 + n, {"x": float(n)}) for n in range(COUNT)]
    house.history.add(10, readings)
    await house.history.flush()
    return house


async def whole(house: SmallHouse, form: Any) -> bytes:
    export = Export(house.history, Selection(form))
    return b"".join([piece.data async for piece in export.pieces()])


@pytest.mark.parametrize(
    ("form", "kind", "suffix"),
    [
        ("csv", "text/csv; charset=utf-8; header=present", "csv"),
        ("json", "application/x-ndjson", "ndjson"),
        ("line", "text/plain; charset=utf-8", "lp"),
    ],
)
async def test_forms(
    http: httpx.AsyncClient, full: SmallHouse, form: str, kind: str, suffix: str
) -> None:
    answer = await http.get(PATH, params={"format": form})
    assert answer.headers["content-type"] == kind
    disposition = answer.headers["content-disposition"]
    assert disposition.startswith('attachment; filename="berrygate-')
    assert disposition.endswith(f'.{suffix}"')
    assert answer.content == await whole(full, form)
    assert "content-length" not in answer.headers


async def test_a_selection(http: httpx.AsyncClient, house: SmallHouse) -> None:
    answer = await http.get(f"{PATH}?device=soil-*&device=pump-*&metric=!open&time=ms")
    assert answer.text.splitlines() == [
        "time,device,metric,value",
        f'{STARTED},pump-2,state,"<b>on</b>"',
        f"{STARTED},soil-4,moisture,31.0",
    ]
    answer = await http.get(PATH, params={"start": STARTED + 1})
    assert answer.text == "time,device,metric,value\n"
    answer = await http.get(PATH, params={"every": "1h", "metric": "moisture"})
    assert answer.text.splitlines()[1:] == ["2026-11-20T22:00:00.000Z,soil-4,moisture,31.0"]


@pytest.mark.parametrize(
    ("query", "status"),
    [("device=nobody", 404), ("format=xml", 422), ("start=soon", 422), ("forma=csv", 422)],
)
async def test_what_is_wrong_is_said_before_the_first_byte(
    http: httpx.AsyncClient, query: str, status: int
) -> None:
    answer = await http.get(f"{PATH}?{query}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The chunks that are read from now on."""
    real, fetched = stretches.fetch, list[int]()

    def fetch(database: Any, number: int) -> Any:
        fetched.append(number)
        return real(database, number)

    monkeypatch.setattr(stretches, "fetch", fetch)
    return fetched


def failing_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = stretches.fetch
    calls = 0

    def fetch(database: Any, number: int) -> Any:
        nonlocal calls
        calls += 1
        if calls > count:
            raise sqlite3.OperationalError("disk I/O error")
        return real(database, number)

    monkeypatch.setattr(stretches, "fetch", fetch)


async def test_an_unreadable_history_is_a_problem(
    http: httpx.AsyncClient, full: SmallHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_after(0, monkeypatch)
    answer = await http.get(PATH)
    assert answer.status_code == 503
    assert answer.json()["detail"] == "history cannot be read: disk I/O error"


async def test_what_breaks_off_does_not_look_whole(
    http: httpx.AsyncClient, full: SmallHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_after(50, monkeypatch)
    got = bytearray()

    async def read(answer: httpx.Response) -> None:
        async for data in answer.aiter_bytes():
            got.extend(data)

    async with http.stream("GET", PATH) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            await read(answer)
    assert len(got) > 100_000
    assert (await http.get("/healthz")).status_code == 200


async def test_http_1_0_could_not_tell_the_end(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {PATH} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
    answer = await reader.read()
    assert b" 505 " in answer.splitlines()[0]
    assert b"application/problem+json" in answer
    writer.close()


async def test_head_reads_nothing(
    http: httpx.AsyncClient, full: SmallHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = counting(monkeypatch)
    answer = await http.head(PATH)
    await asyncio.sleep(1)
    assert len(fetched) < 20
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")


async def test_a_slow_reader_makes_nothing_grow_and_delays_nobody(
    http: httpx.AsyncClient, port: int, full: SmallHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = counting(monkeypatch)
    wanted = await whole(full, "json")
    chunks, _ = len(fetched), fetched.clear()
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
    client.connect(("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=client, limit=1_024)
    writer.write(f"GET {PATH}?format=json HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    before = -1
    while before != len(fetched):  # until nothing goes on any more
        before = len(fetched)
        await asyncio.sleep(0.3)
    # What the kernel and the server hold is full; the rest has not been read.
    assert 0 < len(fetched) < chunks * 0.9
    assert (await http.get(PATH, params={"format": "json"})).content == wanted  # nobody else waits
    assert not full.history.database._reading.locked()
    body = bytearray()
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    assert bytes(body) == wanted
    writer.close()


async def test_who_leaves_ends_it(
    http: httpx.AsyncClient, full: SmallHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = asyncio.Event()
    real = Export.pieces
    fetched = counting(monkeypatch)
    await whole(full, "json")
    chunks = len(fetched)
    fetched.clear()

    async def pieces(self: Export) -> Any:
        try:
            async for piece in real(self):
                yield piece
        finally:
            ended.set()

    monkeypatch.setattr(Export, "pieces", pieces)
    async with http.stream("GET", PATH, params={"format": "json"}) as answer:
        async for _ in answer.aiter_bytes(1_000):
            break
    async with asyncio.timeout(10):
        await ended.wait()
    assert len(fetched) < chunks


# -- the control socket -----------------------------------------------------------------------


async def told(reader: asyncio.StreamReader) -> tuple[bytes, dict[str, Any]]:
    """Everything, and how it ended."""
    got = b""
    while True:
        line = json.loads(await reader.readline())
        if "next" not in line:
            return got, line
        got += await reader.readexactly(line["next"]["size"])


async def test_over_the_control_socket(full: SmallHouse, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with control.serving(full, [path]):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"call": "export", "args": {"format": "line"}}\n')
        assert json.loads(await reader.readline()) == {"ok": None}
        got, end = await told(reader)
        assert got == await whole(full, "line")
        assert (end["end"]["rows"], end["end"]["series"]) == (COUNT + 2, 4)
        writer.write(b'{"call": "export", "args": {"device": ["nobody"]}}\n')
        assert json.loads(await reader.readline())["error"]["type"] == "unknown"
        writer.write(b'{"call": "export", "args": {"format": "xml"}}\n')
        assert json.loads(await reader.readline())["error"]["type"] == "usage"
        writer.write(b'{"call": "version"}\n')  # the connection is still in order
        assert "ok" in json.loads(await reader.readline())
        writer.close()


async def test_what_breaks_off_over_the_control_socket_is_an_error(
    full: SmallHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_after(50, monkeypatch)
    path = tmp_path / "control.sock"
    async with control.serving(full, [path]):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"call": "export"}\n')
        assert json.loads(await reader.readline()) == {"ok": None}
        got, end = await told(reader)
        assert len(got) > 100_000
        assert end["error"]["message"] == "history cannot be read: disk I/O error"
        writer.close()
