"""Publishes QoS 1 messages of 3 values, and tells when each was sent. Costs little.

python -m gateway.bench.publisher PORT --root devices --first 0 --seconds 5 --rate 1000
MQTT 3.1.1 on a plain socket. Prints a JSON object: acknowledged, seconds. With --times, writes a
float64 a message: when it was handed to the kernel (s, time.monotonic).
"""

import argparse
import json
import select
import socket
import time
from array import array
from pathlib import Path

WINDOW = 1_000  # messages that are on their way to the broker at a time
_AT_ONCE = 200
_PATIENCE = 10.0  # s
_TICK = 0.002  # s


def packet(root: str, number: int, devices: int) -> bytes:
    """A PUBLISH with QoS 1; its id follows from its number (no more than WINDOW are on their
    way, so that none is used twice at a time)."""
    topic = f"{root}/bench-{number % devices:05d}/telemetry".encode()
    a, b = 20 + number % 100 / 10, 40 + number % 37 / 4
    body = len(topic).to_bytes(2, "big") + topic + (number % 65_535 + 1).to_bytes(2, "big")
    body += b'{"seq": %d, "temperature": %.1f, "humidity": %.2f}' % (number, a, b)
    return b"\x32" + _size(len(body)) + body


def _size(length: int) -> bytes:
    """A remaining length (MQTT 3.1.1, 2.2.3) of two bytes or one."""
    return bytes((length,)) if length < 128 else bytes((length & 127 | 128, length >> 7))


class Publisher:
    """One connection to the broker on `port` of this machine."""

    def __init__(self, port: int, root: str, devices: int) -> None:
        self.acknowledged = 0
        self.sent = array("d")
        self._root = root
        self._devices = devices
        self._rest = b""
        self._socket = socket.create_connection(("127.0.0.1", port), _PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = b"berrygate-bench"
        body = b"\x00\x04MQTT\x04\x02\x00\x00" + len(name).to_bytes(2, "big") + name
        self._socket.sendall(bytes((0x10, len(body))) + body)
        answer = self._socket.recv(4)
        if answer[:1] != b"\x20" or answer[3] != 0:
            raise ConnectionError("the broker refuses the publisher")

    def run(self, first: int, seconds: float, rate: float, most: int) -> float:
        """Publish for `seconds` at `rate` a second (0: as fast as it goes), `most` messages at
        most, and wait for the acknowledgements; how long it published. Raises TimeoutError."""
        began = time.monotonic()
        last = min(most, int(rate * seconds)) if rate else most
        while len(self.sent) < last:
            elapsed = time.monotonic() - began
            if elapsed > seconds * (3 if rate else 1):
                break
            due = min(last, int(elapsed * rate) + 1) if rate else last
            self._send(first, due)
            # Where the rate is kept there is no hurry, and waking up costs.
            full = len(self.sent) - self.acknowledged >= WINDOW
            self._read(_TICK if full or not rate else 0.0)
            if rate and not full:
                time.sleep(_TICK)
        published = time.monotonic() - began
        deadline = time.monotonic() + _PATIENCE
        while self.acknowledged < len(self.sent):
            before = self.acknowledged
            self._read(0.1)
            if self.acknowledged > before:
                deadline = time.monotonic() + _PATIENCE
            elif time.monotonic() > deadline:
                raise TimeoutError("the broker does not acknowledge")
        self._socket.sendall(b"\xe0\x00")
        self._socket.close()
        return published

    def _send(self, first: int, due: int) -> None:
        done = len(self.sent)
        room = WINDOW - (done - self.acknowledged)
        count = min(due - done, room, _AT_ONCE)
        if count <= 0:
            return
        numbers = range(first + done, first + done + count)
        data = b"".join(packet(self._root, number, self._devices) for number in numbers)
        now = time.monotonic()
        self._socket.sendall(data)
        self.sent.extend([now] * count)

    def _read(self, timeout: float) -> None:
        if not select.select([self._socket], [], [], timeout)[0]:
            return
        data = self._socket.recv(65_536)
        if not data:
            raise ConnectionError("the broker hung up")
        data = self._rest + data
        whole = len(data) // 4 * 4  # nothing but PUBACKs of 4 bytes comes
        self.acknowledged += whole // 4
        self._rest = data[whole:]


def main() -> None:
    """As a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--root", default="devices")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--devices", type=int, default=100)
    parser.add_argument("--most", type=int, default=200_000)
    parser.add_argument("--times", type=Path)
    args = parser.parse_args()
    publisher = Publisher(args.port, args.root, args.devices)
    seconds = publisher.run(args.first, args.seconds, args.rate, args.most)
    if args.times:
        args.times.write_bytes(publisher.sent.tobytes())
    print(json.dumps({"acknowledged": publisher.acknowledged, "seconds": seconds}))  # noqa: T201


if __name__ == "__main__":
    main()
