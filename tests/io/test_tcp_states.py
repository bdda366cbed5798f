"""Connections by state, as the kernel tells them over netlink and in its files."""

import socket
from pathlib import Path

import pytest

from gateway.io import tcp_states as module
from gateway.io.tcp_states import tcp_states


@pytest.mark.parametrize("allowed", [True, False])
def test_connections_of_this_machine(monkeypatch: pytest.MonkeyPatch, allowed: bool) -> None:
    def refused() -> list[int]:
        raise PermissionError("address family not allowed")

    if not allowed:
        monkeypatch.setattr(module, "_asked", refused)
    before = tcp_states()
    servers = [socket.create_server((host, 0), family=family) for host, family in (
        ("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6),
    ) for _ in range(20)]  # fmt: skip
    try:
        # Others on this machine come and go; twenty of each family are more than they.
        assert tcp_states()["listen"] - before.get("listen", 0) >= 30
    finally:
        for server in servers:
            server.close()


def test_a_kernel_without_either_tells_nothing(tmp_path: Path) -> None:
    assert tcp_states(tmp_path) == {}
