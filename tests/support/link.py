"""Two hosts on one cable: network namespaces of a test's own, which nothing else can reach."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Host:
    """One end. enter: puts a command into it; interface: its end of the cable."""

    name: str
    interface: str
    address: str

    @property
    def enter(self) -> list[str]:
        """What goes before a command."""
        return ["ip", "netns", "exec", self.name]


@contextmanager
def link() -> Iterator[tuple[Host, Host]]:
    """Both hosts, with addresses of IPv4 (192.0.2.1 and .2) and IPv6. Needs root."""
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("needs root and iproute2")
    hosts = [Host(f"bg{os.getpid()}-{end}", f"cable{end}", f"192.0.2.{end}") for end in (1, 2)]
    try:
        for host in hosts:
            _ip("netns", "add", host.name)
        first, second = hosts
        _ip("link", "add", first.interface, "netns", first.name, "type", "veth",
            "peer", "name", second.interface, "netns", second.name)  # fmt: skip
        for host in hosts:
            inside = ("-n", host.name)
            _ip(*inside, "address", "add", f"{host.address}/24", "dev", host.interface)
            for interface in ("lo", host.interface):
                _ip(*inside, "link", "set", interface, "up")
            _ip(*inside, "route", "add", "224.0.0.0/4", "dev", host.interface)
        _settled(hosts)
        yield first, second
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "delete", host.name], check=False)


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def _settled(hosts: list[Host]) -> None:
    """IPv6 looks for others with the same address first, for a second or two."""
    deadline = time.monotonic() + 10
    while any("tentative" in _ip("-n", host.name, "address") for host in hosts):
        if time.monotonic() > deadline:
            raise AssertionError("the address stays tentative")
        time.sleep(0.05)
