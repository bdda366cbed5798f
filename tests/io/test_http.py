"""What went wrong on the way to a server, in words for people."""

import socket

import pytest
import urllib3

from gateway.io.http import network_failure
from tests.support.ports import free_port


def ask(port: int) -> str:
    pool = urllib3.PoolManager(retries=False).connection_from_url(f"http://127.0.0.1:{port}")
    with pytest.raises(urllib3.exceptions.HTTPError) as found:
        pool.urlopen("POST", "/write", body=b"", timeout=urllib3.Timeout(total=1.2))
    return str(network_failure(found.value))


def test_nobody_listens() -> None:
    port = free_port()
    said = ask(port)
    assert said.startswith(f"127.0.0.1:{port}: ")
    assert said.endswith("Connection refused")
    assert "Errno" not in said
    assert "object at" not in said


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert ask(server.getsockname()[1]) == "no answer within 1 s"
