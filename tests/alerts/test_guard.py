"""Nothing on this machine or in a private network is connected to, whatever leads there."""

import http.client
import ipaddress
import smtplib
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.alerts.channels import AppriseChannel
from gateway.alerts.guard import Refused, guarded, is_public
from gateway.config.alerting import ChannelSettings
from gateway.core.errors import ConfigError, Denied, Unavailable
from gateway.io.blocking import Blocking
from tests.support.receiver import Receiver, receiver

LOCAL = ipaddress.ip_network("127.0.0.1/32")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.3.4", "192.168.1.1", "::1", "::",
        "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "fe80::1", "fc00::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "240.0.0.1",
        "2001::1", "fec0::1", "192.0.2.1",
    ],
)  # fmt: skip
def test_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "64:ff9b::101:101"])
def test_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def connect() -> None:
    with socket.socket() as connection:
        connection.connect(("127.0.0.1", 9))


def send() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.sendto(b"x", ("127.0.0.1", 9))


def connect_unix() -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("/dev/log")


def connect_name() -> None:
    with socket.socket() as connection:
        connection.connect(("localhost", 9))


WAYS: list[Any] = [
    connect,
    send,
    connect_unix,
    connect_name,
    lambda: socket.create_connection(("localhost", 9), 1),
    lambda: http.client.HTTPConnection("127.0.0.1", 9).request("GET", "/"),
    lambda: smtplib.SMTP("localhost", 25),
    lambda: threading.Thread(target=connect).start(),
    lambda: subprocess.run(["true"], check=True),
]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_is_refused(way: Any) -> None:
    with guarded() as guard, pytest.raises(Refused):
        way()
    assert guard.refused


def test_a_thread_that_was_there_before_takes_the_guard_along() -> None:
    from contextvars import copy_context

    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        with guarded(), pytest.raises(Refused):
            pool.submit(copy_context().run, connect).result()


def test_others_are_not_kept_from_anything() -> None:
    with guarded():
        pass
    with pytest.raises(ConnectionRefusedError):
        connect()


# -- through Apprise, with a server that is really there -----------------------------------------


def channel(url: str, allow: bool = False, only: Any = ()) -> AppriseChannel:
    settings = ChannelSettings.model_validate({"name": "c", "url": url, "allow_private": allow})
    return AppriseChannel(settings, Blocking("test"), only)


async def test_only_where_it_is_allowed(tmp_path: Path) -> None:
    with receiver(tmp_path) as there:
        with pytest.raises(Denied, match=r"127\.0\.0\.1 is not a public address"):
            await channel(there.url).send("title", "body", "warning")
        assert there.received == []
        await channel(there.url, allow=True).send("title", "body", "warning")
        (came,) = there.received
        assert (came["title"], came["message"], came["type"]) == ("title", "body", "warning")


async def test_a_name_is_looked_at_by_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver(tmp_path) as there:
        real = socket.getaddrinfo

        def resolve(host: Any, *args: Any, **more: Any) -> Any:
            return real("127.0.0.1" if host == "alerts.example.com" else host, *args, **more)

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        for name in ("alerts.example.com", "localhost"):
            with pytest.raises(Denied, match="not a public address"):
                await channel(f"json://{name}:{there.port}/").send("t", "b", "info")
        await channel(f"json://alerts.example.com:{there.port}/", True).send("t", "b", "info")
        assert len(there.received) == 1


async def test_a_redirect_is_not_followed_there(tmp_path: Path) -> None:
    inside = Receiver(tmp_path / "inside", "127.0.0.2").start()
    try:
        with receiver(tmp_path / "outside") as outside:
            url = f"{outside.url}redirect/127.0.0.2:{inside.port}/x"
            await channel(url, allow=True).send("t", "b", "info")
            assert len(inside.wait(1)) == 1  # it is followed where that is allowed
            with pytest.raises(Denied, match=r"127\.0\.0\.2 is not a public address"):
                await channel(url, only=[LOCAL]).send("t", "b", "info")
            assert len(inside.received) == 1
    finally:
        inside.stop()


async def test_a_name_that_leads_elsewhere_the_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: at first a public address, then, for the redirect, one that is not."""
    inside = Receiver(tmp_path / "inside", "127.0.0.2").start()
    real, asked = socket.getaddrinfo, 0

    def resolve(host: Any, *args: Any, **more: Any) -> Any:
        nonlocal asked
        if host != "alerts.example.com":
            return real(host, *args, **more)
        asked += 1
        return real("127.0.0.1" if asked % 2 else "127.0.0.2", *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    try:
        with receiver(tmp_path / "outside") as outside:
            name = "alerts.example.com"
            url = f"json://{name}:{outside.port}/redirect/{name}:{inside.port}/x"
            await channel(url, allow=True).send("t", "b", "info")
            assert len(inside.wait(1)) == 1  # that is where it leads
            with pytest.raises(Denied, match=r"127\.0\.0\.2 is not a public address"):
                await channel(url, only=[LOCAL]).send("t", "b", "info")
            assert (asked, len(inside.received)) == (4, 1)
    finally:
        inside.stop()


async def test_smtp_is_not_connected_to_either() -> None:
    url = "mailto://user:secret-pass@localhost:2525?to=a@example.com&smtp=localhost"
    with pytest.raises(Denied, match="not a public address"):
        await channel(url).send("t", "b", "info")


async def test_what_is_not_taken_says_why_and_no_secret(tmp_path: Path) -> None:
    with receiver(tmp_path) as there:
        there.refuse()
        with pytest.raises(Unavailable, match="503"):
            await channel(there.url, allow=True).send("t", "b", "info")
    gone = channel(f"json://user:secret-pass@127.0.0.1:{there.port}/", allow=True)
    with pytest.raises(Unavailable) as raised:
        await gone.send("t", "b", "info")
    assert "secret-pass" not in str(raised.value)


async def test_without_apprise_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    made = channel("json://example.com")
    for name in ("apprise", "apprise.conversion"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"pip install berrygate\[alerts\]"):
        await made.send("t", "b", "info")
