"""CoAP devices, each at an address and a port of its own: a confirmable POST now and then, sent
again until it is answered (RFC 7252, section 4.2)."""

import heapq
import random
import select
import socket
import time
from collections import Counter
from dataclasses import dataclass

from tests.support.coap import ACK, CON, FORMAT, POST, message, number, parse

_ACK_TIMEOUT = 2.0
_RANDOM_FACTOR = 1.5
_MAX_RETRANSMIT = 4
_JSON = 50
_EMPTY_ACK = bytes([0x60, 0])


@dataclass(slots=True)
class _Asked:
    """A message that is not answered yet. left: how often it may still be sent again; timeout:
    after how long next (s). acknowledged: the answer comes apart, so it is not sent again."""

    data: bytes
    timeout: float
    left: int = _MAX_RETRANSMIT
    acknowledged: bool = False


class CoapDevices:
    """Devices c0, c1 … stored: messages of each that were answered 2.04; answers: by code;
    repeated: how often one was sent again; unanswered: given up; waiting: not answered yet."""

    def __init__(self, port: int, count: int, poll: select.epoll) -> None:
        self.stored = [0] * count
        self.answers: Counter[str] = Counter()
        self.repeated = self.unanswered = 0
        self.waiting: dict[tuple[int, int], _Asked] = {}
        self._sent = [0] * count
        self._again: list[tuple[float, int, int]] = []  # when (monotonic), device, message id
        self._sockets = [_socket(device, port) for device in range(count)]
        self._device_of = {made.fileno(): device for device, made in enumerate(self._sockets)}
        for made in self._sockets:
            poll.register(made.fileno(), select.EPOLLIN)

    def send(self, turn: int) -> None:
        """The message that is the `turn`th of all: each device has its turn in each round."""
        device = turn % len(self._sockets)
        sent = self._sent[device]
        self._sent[device] += 1
        mid = sent & 0xFFFF
        payload = b'{"seq": %d, "temperature": %.1f, "humidity": %d}' % (
            sent, 20 + sent % 100 / 10, sent % 37,
        )  # fmt: skip
        token, options = mid.to_bytes(2, "big"), ((FORMAT, number(_JSON)),)
        data = message(POST, f"telemetry/c{device}", payload, mid, CON, token, options)
        asked = _Asked(data, _ACK_TIMEOUT * random.uniform(1.0, _RANDOM_FACTOR))
        self.waiting[device, mid] = asked
        heapq.heappush(self._again, (time.monotonic() + asked.timeout, device, mid))
        self._sockets[device].send(data)

    def repeat(self) -> None:
        """Send again what is due."""
        now = time.monotonic()
        while self._again and self._again[0][0] <= now:
            _, device, mid = heapq.heappop(self._again)
            asked = self.waiting.get((device, mid))
            if asked is None:
                continue
            if not asked.left:
                self.unanswered += 1
                del self.waiting[device, mid]
                continue
            asked.left -= 1
            asked.timeout *= 2
            heapq.heappush(self._again, (now + asked.timeout, device, mid))
            if not asked.acknowledged:
                self.repeated += 1
                self._sockets[device].send(asked.data)

    def owns(self, descriptor: int) -> bool:
        """Whether it is a socket of these."""
        return descriptor in self._device_of

    def read(self, descriptor: int) -> None:
        """Something has come there."""
        device = self._device_of[descriptor]
        answer = parse(self._sockets[device].recv(2_048))
        if answer.kind == ACK and answer.code == "0.00":
            if (asked := self.waiting.get((device, answer.mid))) is not None:
                asked.acknowledged = True
            return
        if answer.kind == CON:
            self._sockets[device].send(_EMPTY_ACK + answer.mid.to_bytes(2, "big"))
        if self.waiting.pop((device, int.from_bytes(answer.token, "big")), None) is None:
            return  # the answer to one that was sent twice
        self.answers[answer.code] += 1
        if answer.code == "2.04":
            self.stored[device] += 1


def _socket(device: int, port: int) -> socket.socket:
    """Its own address: the gateway bounds what a single one may send."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((f"127.77.{device // 250}.{device % 250 + 1}", 0))
    made.connect(("127.0.0.1", port))
    made.setblocking(False)
    return made
