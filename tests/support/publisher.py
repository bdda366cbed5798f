"""A publisher of QoS 1 messages that costs little, and knows what the broker acknowledged.

MQTT 3.1.1 on a plain socket. Payloads carry a sequence number and no time. After a lost
connection it connects again and sends what was not acknowledged once more.
"""

import argparse
import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

_WINDOW = 1_000


def payload(number: int) -> bytes:
    """Three values and the number."""
    a, b = 20 + number % 100 / 10, 40 + number % 37 / 4
    return b'{"seq": %d, "temperature": %.1f, "humidity": %.2f}' % (number, a, b)


class Publisher:
    """Publishes numbers to `devices/d<number % devices>/telemetry`, or where `topic` says.

    acknowledged: the numbers the broker has acknowledged; answers: on which of our connections
    (1, 2 …) and when (monotonic). repeated: those sent more than once, because a connection ended
    before the answer came; they may rightly arrive more than once. clean: False for a session
    that outlives the connection.
    """

    def __init__(
        self,
        port: int,
        devices: int = 10,
        make: Callable[[int], bytes] = payload,
        client_id: str = "publisher",
        *,
        clean: bool = True,
        topic: Callable[[int], bytes] | None = None,
    ) -> None:
        self.acknowledged: set[int] = set()
        self.answers: dict[int, tuple[int, float]] = {}
        self.repeated: set[int] = set()
        self.connections = 0
        self._flags = 0x02 if clean else 0x00
        self._port = port
        self._make = make
        self._client_id = client_id.encode()
        self._topic = topic or (lambda number: b"devices/d%d/telemetry" % (number % devices))
        self._waiting: dict[int, int] = {}  # packet id -> number
        self._next_id = 0
        self._rest = b""
        self._socket: socket.socket | None = None

    def run(
        self, first: int, count: int, rate: float = 0, stop: threading.Event | None = None
    ) -> int:
        """Publish `count` numbers from `first` on, `rate` a second (0: as fast as it goes), and
        wait for their acknowledgements; the number after the last one."""
        began, number, last = time.monotonic(), first, first + count
        patience = 600 + (count / rate if rate else 0)
        while (number < last or self._waiting) and not (stop and stop.is_set() and number > first):
            try:
                if self._socket is None:
                    self._connect()
                due = last
                if rate:
                    due = min(last, first + int((time.monotonic() - began) * rate) + 1)
                number = self._send(number, due)
                self._read(0.002 if number < last else 0.05)
            except OSError:
                self._close()
                time.sleep(0.05)
            if time.monotonic() - began > patience:
                raise TimeoutError("the broker does not acknowledge")
        return number

    def answered(self, number: int) -> None:
        """The broker has acknowledged it."""
        self.acknowledged.add(number)
        self.answers[number] = (self.connections, time.monotonic())

    def close(self) -> None:
        """Disconnect."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendall(b"\xe0\x00")
        self._close()

    def _connect(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), 5)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = len(self._client_id).to_bytes(2, "big") + self._client_id
        body = b"\x00\x04MQTT\x04" + bytes((self._flags,)) + b"\x00\x3c" + name
        self._socket.sendall(bytes((0x10, len(body))) + body)
        answer = self._socket.recv(4)
        if answer[:1] != b"\x20" or answer[3] != 0:
            raise ConnectionError("refused")
        self._rest = b""
        self.connections += 1
        again = b"".join(self._packet(i, n, 0x3A) for i, n in self._waiting.items())
        self._socket.sendall(again)
        self.repeated.update(self._waiting.values())

    def _send(self, number: int, due: int) -> int:
        packets = []
        while number < due and len(self._waiting) < _WINDOW and len(packets) < 200:
            self._next_id = self._next_id % 65_535 + 1
            if self._next_id in self._waiting:
                continue
            self._waiting[self._next_id] = number
            packets.append(self._packet(self._next_id, number, 0x32))
            number += 1
        if packets:
            assert self._socket is not None
            try:
                self._socket.sendall(b"".join(packets))
            except OSError:  # they wait for their acknowledgement, and are sent after a reconnect
                self._close()
        return number

    def _packet(self, packet_id: int, number: int, head: int) -> bytes:
        topic = self._topic(number)
        body = len(topic).to_bytes(2, "big") + topic + packet_id.to_bytes(2, "big")
        body += self._make(number)
        return bytes((head,)) + _size(len(body)) + body

    def _read(self, timeout: float) -> None:
        if self._socket is None:
            return
        if not select.select([self._socket], [], [], timeout)[0]:
            return
        data = self._socket.recv(65_536)
        if not data:
            raise ConnectionError("closed")
        data = self._rest + data
        place = 0
        while place + 4 <= len(data):
            number = self._waiting.pop(int.from_bytes(data[place + 2 : place + 4], "big"), None)
            if number is not None:
                self.answered(number)
            place += 4
        self._rest = data[place:]

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _size(length: int) -> bytes:
    """A remaining length (MQTT 3.1.1, 2.2.3)."""
    digits = bytearray()
    while length > 127:
        digits.append(length & 127 | 128)
        length >>= 7
    digits.append(length)
    return bytes(digits)


def main() -> None:
    """As a program: publish, then write what was acknowledged as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--devices", type=int, default=10)
    parser.add_argument("--report", type=Path)
    args = parser.parse_args()
    publisher = Publisher(args.port, args.devices)
    began = time.monotonic()
    publisher.run(args.first, args.count, args.rate)
    publisher.close()
    report = {"acknowledged": len(publisher.acknowledged), "seconds": time.monotonic() - began}
    if args.report:
        args.report.write_text(json.dumps(report))


if __name__ == "__main__":
    main()
