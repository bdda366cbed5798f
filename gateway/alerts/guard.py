"""Keeps whoever sends from connecting to this machine or a private network.

A name is no protection: it may resolve to 127.0.0.1, to another address the second time it is
asked for, or lead to a redirect. So the interpreter itself is asked to tell (PEP 578) before each
connect and sendto of a thread that is guarded, whatever library makes it, and the address that is
really meant is looked at. What would get out of the thread's sight (threads, programs) is refused.
"""

import ipaddress
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_CONNECTS = frozenset(("socket.connect", "socket.sendto", "socket.sendmsg"))
_THREAD = "threading.Thread"
_ESCAPES = frozenset(
    ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system")
)
_WATCHED = _CONNECTS | _ESCAPES
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last 32 bits
# Not of the thread: work that is handed to another one takes its context along.
_guard: ContextVar["Guarded | None"] = ContextVar("guard", default=None)
_installing = threading.Lock()
_installed = False


class Refused(PermissionError):
    """A connection that is not allowed from here."""


class Guarded:
    """What a guarded thread may do. refused: the first thing that it was kept from."""

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        self.refused = ""
        self._allowed = allowed

    def look(self, event: str, args: tuple[Any, ...]) -> None:
        """Raises Refused."""
        if event in _ESCAPES or event == _THREAD:
            self._refuse(f"it wants to leave its thread ({event})")
        connection, address = args[0], args[1]
        if address is None:  # sendmsg where it is connected already
            return
        if connection.family not in (socket.AF_INET, socket.AF_INET6):
            self._refuse(f"{address!r} is on this machine")
        try:
            found = ipaddress.ip_address(str(address[0]).partition("%")[0])
        except ValueError:
            self._refuse(f"{address[0]!r} is no address")
        if not any(found in network for network in self._allowed) and not is_public(found):
            self._refuse(f"{found} is not a public address")

    def _refuse(self, why: str) -> None:
        self.refused = self.refused or why
        raise Refused(why)


def is_public(address: Address) -> bool:
    """Whether it is anywhere on the Internet: not loopback, link-local, private, shared, multicast
    or reserved; also where an IPv6 address stands for an IPv4 one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.teredo is not None or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


@contextmanager
def guarded(allowed: Sequence[Network] = ()) -> Iterator[Guarded]:
    """While inside, this thread connects to public addresses only, and to `allowed`."""
    _install()
    guard = Guarded(allowed)
    token = _guard.set(guard)
    try:
        yield guard
    finally:
        _guard.reset(token)


def _install() -> None:
    """Once and for good: an audit hook cannot be taken back."""
    global _installed
    with _installing:
        if not _installed:
            sys.addaudithook(_hook)
            _watch_threads()
            _installed = True


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in _WATCHED:
        guard = _guard.get()
        if guard is not None:
            guard.look(event, args)


def _watch_threads() -> None:
    """Python 3.11 does not tell of threads that are started."""
    start = threading.Thread.start

    def watched(thread: threading.Thread) -> None:
        guard = _guard.get()
        if guard is not None:
            guard.look(_THREAD, ())
        start(thread)

    threading.Thread.start = watched  # type: ignore[assignment,method-assign]
