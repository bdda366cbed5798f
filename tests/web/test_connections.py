"""Connections that say nothing are bounded, and do not keep others out for long."""

import socket
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from gateway.web import connections
from tests.support.small_house import SmallHouse, standing


def closed(connection: socket.socket) -> bool:
    connection.settimeout(0.5)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_silent_connections_use_up_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST", 20)
    monkeypatch.setattr(connections, "HEAD", 2.0)
    with standing(SmallHouse(), tmp_path) as url, ExitStack() as stack:
        port = httpx.URL(url).port
        assert port is not None

        def opened() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))

        silent = [opened() for _ in range(20)]
        time.sleep(0.2)
        assert all(closed(opened()) for _ in range(5)), "there is no room for more"
        assert not closed(silent[0])
        silent[1].sendall(b"GET /healthz HTTP/1.1\r\nX")
        deadline = time.monotonic() + 20
        while not all(map(closed, silent)):
            assert time.monotonic() < deadline, "silent connections are let go"
        assert httpx.get(f"{url}/healthz").status_code == 200


def test_a_connection_that_asks_is_kept_for_its_next_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD", 0.3)
    with standing(SmallHouse(), tmp_path) as url, httpx.Client(base_url=url) as client:
        for _ in range(4):
            assert client.get("/healthz").status_code == 200
            time.sleep(0.2)
