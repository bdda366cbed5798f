"""How many TCP connections of this machine are in which state.

Asked over netlink (sock_diag(7)), which costs a tenth of reading /proc/net/tcp: that file walks a
table whose size follows the machine's memory, however few connections there are.
"""

import socket
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

_STATES = {
    1: "established", 2: "syn_sent", 3: "syn_received", 4: "fin_wait", 5: "fin_wait",
    6: "time_wait", 8: "close_wait", 9: "last_ack", 10: "listen", 11: "closing",
    12: "syn_received",
}  # fmt: skip
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ASK = struct.Struct("=BBBBI48x")  # family, protocol, extensions, padding, states, socket id
_STATE_AT = _HEADER.size + 1  # inet_diag_msg: family, state, …
_TIMEOUT = 1.0


def tcp_states(root: Path = Path("/")) -> dict[str, int]:
    """Connections by state; a state that none is in is left out, and everything where the kernel
    does not tell. root: where the file system begins."""
    states: Counter[int] = Counter()
    if root == Path("/"):
        try:
            states.update(_asked())
        except OSError:  # no such kernel module, or the family is not allowed to us
            states.update(_listed(root))
    else:
        states.update(_listed(root))
    found: Counter[str] = Counter()
    for state, count in states.items():
        if state in _STATES:
            found[_STATES[state]] += count
    return dict(found)


def _asked() -> list[int]:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as asking:
        asking.settimeout(_TIMEOUT)
        states: list[int] = []
        for family in (socket.AF_INET, socket.AF_INET6):
            ask = _ASK.pack(family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF)
            head = _HEADER.pack(
                _HEADER.size + len(ask), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, family, 0
            )
            asking.send(head + ask)
            while _take(asking.recv(1 << 17), states):
                pass
        return states


def _take(data: bytes, states: list[int]) -> bool:
    """The states in one answer; False after the last. Raises OSError."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if kind == _NLMSG_DONE:
            return False
        if kind == _NLMSG_ERROR:
            raise OSError("the kernel does not list sockets")
        states.append(data[at + _STATE_AT])
        at += (length + 3) & ~3
    return True


def _listed(root: Path) -> Iterator[int]:
    for table in ("tcp", "tcp6"):
        try:
            lines = (root / "proc/net" / table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            yield int(line.split()[3], 16)
