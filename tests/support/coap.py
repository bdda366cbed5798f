"""CoAP from the other side: messages made by hand, and libcoap's client."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.link import Host

GET, POST, PUT = 1, 2, 3
CON, NON, ACK, RST = range(4)
PATH, FORMAT, MAX_AGE, ACCEPT, BLOCK2, BLOCK1, SIZE1 = 11, 12, 14, 17, 23, 27, 60
OBSERVE = 6


def _extended(value: int) -> tuple[int, bytes]:
    if value < 13:
        return value, b""
    if value < 269:
        return 13, bytes([value - 13])
    return 14, (value - 269).to_bytes(2, "big")


def number(value: int) -> bytes:
    """An option's value that is a number (RFC 7252, section 3.2)."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def message(
    code: int,
    path: str,
    payload: bytes = b"",
    mid: int = 1,
    kind: int = CON,
    token: bytes = b"t",
    options: tuple[tuple[int, bytes], ...] = (),
) -> bytes:
    """A request as it goes over the wire."""
    whole = [(PATH, part.encode()) for part in path.strip("/").split("/")] + list(options)
    data = bytes([0x40 | kind << 4 | len(token), code]) + mid.to_bytes(2, "big") + token
    before = 0
    for option, value in sorted(whole, key=lambda each: each[0]):
        (delta, more_delta), (length, more_length) = (
            _extended(option - before),
            _extended(len(value)),
        )
        data += bytes([delta << 4 | length]) + more_delta + more_length + value
        before = option
    return data + (b"\xff" + payload if payload else b"")


@dataclass
class Answer:
    """A response as it came. code: such as 2.04; options: the last value of each."""

    code: str
    kind: int
    mid: int
    token: bytes
    payload: bytes
    options: dict[int, bytes] = field(default_factory=dict)

    def number(self, option: int) -> int:
        """An option that is a number."""
        return int.from_bytes(self.options[option], "big")


def parse(data: bytes) -> Answer:
    """A message that came."""
    length, code, mid = data[0] & 15, data[1], int.from_bytes(data[2:4], "big")
    found = Answer(f"{code >> 5}.{code & 31:02}", data[0] >> 4 & 3, mid, data[4 : 4 + length], b"")
    rest, option = data[4 + length :], 0
    while rest:
        if rest[0] == 0xFF:
            found.payload = rest[1:]
            break
        sizes, rest = [rest[0] >> 4, rest[0] & 15], rest[1:]
        for place, size in enumerate(sizes):
            if size == 13:
                sizes[place], rest = rest[0] + 13, rest[1:]
            elif size == 14:
                sizes[place], rest = int.from_bytes(rest[:2], "big") + 269, rest[2:]
        option += sizes[0]
        found.options[option], rest = rest[: sizes[1]], rest[sizes[1] :]
    return found


class Client:
    """A socket of one's own. Confirmable messages are sent again after 2 s, as RFC 7252 has it,
    and separate answers acknowledged."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._mid = int.from_bytes(os.urandom(2), "big")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """A datagram."""
        self._socket.send(data)

    def receive(self, timeout: float = 5) -> Answer:
        """The next message. Raises TimeoutError."""
        self._socket.settimeout(timeout)
        return parse(self._socket.recv(65_536))

    def answers(self, timeout: float = 0.5) -> Iterator[Answer]:
        """All that comes until nothing has come for so long."""
        while True:
            try:
                yield self.receive(timeout)
            except TimeoutError:
                return

    def ask(
        self,
        code: int,
        path: str,
        payload: bytes = b"",
        options: tuple[tuple[int, bytes], ...] = (),
        patience: float = 30,
    ) -> Answer:
        """A request and its answer. Raises TimeoutError."""
        self._mid = (self._mid + 1) & 0xFFFF
        token = os.urandom(4)
        data = message(code, path, payload, self._mid, CON, token, options)
        until, acknowledged, again = time.monotonic() + patience, False, 2.0
        self.send(data)
        while time.monotonic() < until:
            try:
                found = self.receive(again)
            except TimeoutError:
                if not acknowledged:
                    self.send(data)
                continue
            except ConnectionRefusedError:  # nobody there at the moment
                time.sleep(0.1)
                self.send(data)
                continue
            if found.code == "0.00":
                acknowledged = True
            elif found.token == token:
                if found.kind == CON:
                    self.send(bytes([0x60, 0]) + found.mid.to_bytes(2, "big"))
                return found
        raise TimeoutError(f"no answer to {path}")

    def post(self, device: str, payload: bytes, written: int | None = 50) -> Answer:
        """Telemetry of a device."""
        options = () if written is None else ((FORMAT, number(written)),)
        return self.ask(POST, f"telemetry/{device}", payload, options)


def libcoap(*args: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    """libcoap's client; skips where it is not installed."""
    command = [program("coap-client"), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def program(name: str) -> str:
    """Where one of libcoap's programs is; skips where it is not installed."""
    for each in (f"{name}-notls", f"{name}-openssl", name):
        if found := shutil.which(each):
            return found
    pytest.skip(f"{name} of libcoap is not installed (libcoap3-bin)")


@contextmanager
def libcoap_server(
    port: int, log: Path, host: Host | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """libcoap's example server, whose /time changes each second and can be observed. host: where
    it is, and hears the groups; else here."""
    where = ["-A", "127.0.0.1"]
    if host is not None:
        where = ["-A", "::", "-g", "ff02::fd", "-G", host.interface]
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*(host.enter if host else []), program("coap-server"), *where, "-p", str(port)],
            stdout=out, stderr=out,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()
