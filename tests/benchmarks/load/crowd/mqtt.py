"""MQTT devices, each with a connection and a last will: they send to the default topic, and tell
that they are there where that is wanted, and their will that they are not, as Tasmota does.

MQTT 3.1.1 by hand, as anything more would cost the machine that is measured more than what is
measured. A device that the broker disconnects is an error: nothing here makes it do so.
"""

import select
import socket
import time
from collections import deque

from tests.support.packets import Packets, packet_id

_KEEP_ALIVE = 60
_OPENING = 50  # connections at a time; more than the broker's backlog would wait for a second
_BIRTH = 1  # its packet id
_CONNACK, _PUBACK, _PINGRESP = 0x20, 0x40, 0xD0


class MqttDevices:
    """Devices m0, m1 … births: whether each tells that it is there when it has connected.
    acknowledged: messages of each that the broker has taken, without births; waiting: messages that
    are not acknowledged yet."""

    def __init__(self, port: int, count: int, poll: select.epoll, *, births: bool) -> None:
        self.acknowledged = [0] * count
        self.waiting: set[tuple[int, int]] = set()
        self._port = port
        self._births = births
        self._poll = poll
        self._sent = [0] * count
        self._sockets: list[socket.socket | None] = [None] * count
        self._streams: dict[int, Packets] = {}  # of devices whose packets came in pieces, or joined
        self._device_of: dict[int, int] = {}  # by file descriptor
        self._to_open = deque(range(count))
        self._opening = 0
        self._pinged = time.monotonic()

    @property
    def ready(self) -> bool:
        """Whether all are connected, and all that was sent is acknowledged."""
        return not self._to_open and not self._opening and not self.waiting

    def open(self) -> None:
        """Connect some more."""
        while self._to_open and self._opening < _OPENING:
            device = self._to_open.popleft()
            made = socket.create_connection(("127.0.0.1", self._port), 30)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setblocking(False)
            self._sockets[device] = made
            self._device_of[made.fileno()] = device
            self._poll.register(made.fileno(), select.EPOLLIN)
            self._opening += 1
            made.send(_connect(device))

    def send(self, turn: int) -> None:
        """The message that is the `turn`th of all: each device has its turn in each round."""
        device = turn % len(self._sockets)
        made = self._sockets[device]
        if made is None:
            return  # it was cut off
        number = self._sent[device]
        self._sent[device] += 1
        packet = number % 65_534 + 1 + _BIRTH
        self.waiting.add((device, packet))
        made.send(_publish(b"devices/m%d/telemetry" % device, _telemetry(number), packet, 0x32))

    def ping(self) -> None:
        """Keep connections that say nothing."""
        if time.monotonic() - self._pinged > _KEEP_ALIVE / 2:
            self._pinged = time.monotonic()
            for made in self._sockets:
                if made is not None:
                    made.send(b"\xc0\x00")

    def owns(self, descriptor: int) -> bool:
        """Whether it is a socket of these."""
        return descriptor in self._device_of

    def read(self, descriptor: int) -> None:
        """Something has come there. Raises ConnectionError."""
        device = self._device_of[descriptor]
        made = self._sockets[device]
        assert made is not None
        data = made.recv(4_096)
        if not data:
            raise ConnectionError(f"the broker closed the connection of m{device}")
        if len(data) == 4 and data[0] == _PUBACK and descriptor not in self._streams:
            self._take(device, data)
            return
        for packet in self._streams.setdefault(descriptor, Packets()).feed(data):
            self._take(device, packet)

    def cut(self, count: int) -> list[str]:
        """Cut the connections of so many, spread over all, without a goodbye; which. None of them
        waits for an acknowledgement: nobody could say whether that message was taken."""
        busy = {device for device, _ in self.waiting}
        idle = [device for device in range(len(self._sockets)) if device not in busy]
        chosen = idle[:: len(idle) // count][:count]
        for device in chosen:
            made = self._sockets[device]
            assert made is not None
            self._poll.unregister(made.fileno())
            del self._device_of[made.fileno()]
            made.close()
            self._sockets[device] = None
        return [f"m{device}" for device in chosen]

    def close(self) -> None:
        """Say goodbye."""
        for made in self._sockets:
            if made is not None:
                made.send(b"\xe0\x00")
                made.close()

    def _take(self, device: int, packet: bytes) -> None:
        if packet[0] == _PUBACK:
            number = packet_id(packet)
            self.waiting.remove((device, number))
            self.acknowledged[device] += number != _BIRTH
        elif packet[0] == _CONNACK and packet[3] == 0:
            self._opening -= 1
            if not self._births:
                return
            made = self._sockets[device]
            assert made is not None
            self.waiting.add((device, _BIRTH))
            made.send(_publish(b"tele/m%d/LWT" % device, b"Online", _BIRTH, 0x33))
        elif packet[0] != _PINGRESP:
            raise ConnectionError(f"m{device} was answered {packet!r}")


def _telemetry(number: int) -> bytes:
    return b'{"seq": %d, "temperature": %.1f, "humidity": %.1f}' % (
        number, 15 + number % 90 / 10, 40 + number % 37,
    )  # fmt: skip


def _connect(device: int) -> bytes:
    """CONNECT with a clean session and a will that is retained, of QoS 1 (MQTT 3.1.1, 3.1)."""
    parts = (b"device-%d" % device, b"tele/m%d/LWT" % device, b"Offline")
    body = b"\x00\x04MQTT\x04\x2e" + _KEEP_ALIVE.to_bytes(2, "big")
    body += b"".join(len(part).to_bytes(2, "big") + part for part in parts)
    return bytes((0x10, len(body))) + body


def _publish(topic: bytes, payload: bytes, packet: int, head: int) -> bytes:
    """PUBLISH of at most 16,383 bytes."""
    body = len(topic).to_bytes(2, "big") + topic + packet.to_bytes(2, "big") + payload
    length = len(body)
    size = bytes((length,)) if length < 128 else bytes((length & 127 | 128, length >> 7))
    return bytes((head,)) + size + body
