"""A paho client that takes acknowledgements in bulk, and whose packets others make.

paho's own `publish` costs some 30 us a message, and its queue of outgoing messages refuses what
is over 65,535. Here connecting, TLS and every packet but PUBACK and PINGRESP stay paho's; bytes
that were put together elsewhere go out in one write, and a run of PUBACKs is taken in a few
operations. It uses private names of paho; a test looks for them.

Packets: MQTT 3.1.1 sections 3.4 and 3.13, MQTT 5.0 sections 3.4 and 3.13.
"""

import time
from collections.abc import Callable, Sequence

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode

from gateway.io.mqtt.reasons import FAILURE

PRIVATE_NAMES = (
    "_sock", "_sock_close", "_sock_recv", "_in_packet", "_packet_handle", "_packet_queue",
    "_loop_rc_handle", "_keepalive", "_mid_generate", "_msgtime_mutex", "_last_bytes_received",
)  # fmt: skip
"""What this file uses of paho that is not documented."""

_PUBACK, _PINGREQ, _PINGRESP = 0x40, b"\xc0\x00", 0xD0
_READ = 64 * 1024
_ANY = 0x40  # a command of which paho does nothing more once it is written


class MalformedAnswerError(Exception):
    """The other side does not speak MQTT."""


class SendingClient(Client):
    """See the module. Used by one thread at a time. acknowledged: called with packet ids; refused:
    with a packet id and a reason code; alive: called for each PINGRESP."""

    acknowledged: Callable[[Sequence[int]], None]
    refused: Callable[[int, int], None]
    alive: Callable[[], None]
    _rest = b""

    def write(self, data: bytes) -> None:
        """Whole packets, which go out now as far as the socket takes them."""
        self._packet_queue(_ANY, data, 0, 0)

    def ping(self) -> None:
        """Ask whether the broker is there, and has read all that was written before."""
        self.write(_PINGREQ)

    def hang_up(self) -> None:
        """Close the connection, whatever is on its way."""
        self._sock_close()

    @property
    def patience(self) -> int:
        """Within how many seconds the broker wants to hear of us; 0: no limit."""
        return self._keepalive

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read what the socket holds. Raises what garbage makes paho raise."""
        while self._sock is not None:
            try:
                data = self._sock_recv(_READ)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
            code = self._take(self._rest + data)
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return self._loop_rc_handle(code)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _take(self, data: bytes) -> MQTTErrorCode:
        at = self._run(data)
        while (end := _end(data, at)) <= len(data):
            head, body = data[at], data[_body(data, at) : end]
            at = end
            if head == _PUBACK:
                self._answered(body)
            elif head == _PINGRESP:
                self.alive()
            elif (code := self._hand_over(head, body)) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return code
            elif self._sock is None:
                break
        self._rest = data[at:]
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _run(self, data: bytes) -> int:
        """Take the acknowledgements that `data` begins with, if it is nothing but alike ones, as
        it nearly always is; how many bytes that were."""
        size = data[1] + 2 if len(data) > 1 else 0
        count = len(data) // size if size else 0
        end = count * size
        alike = (
            count > 1
            and data[0:end:size].count(_PUBACK) == count
            and data[1:end:size].count(size - 2) == count
            and (size == 4 or (size > 4 and max(data[4:end:size]) < FAILURE))
        )
        if not alike:
            return 0
        high, low = data[2:end:size], data[3:end:size]
        self.acknowledged([a << 8 | b for a, b in zip(high, low, strict=True)])
        return end

    def _answered(self, body: bytes) -> None:
        if len(body) < 2:
            raise MalformedAnswerError("PUBACK without a packet id")
        packet_id = body[0] << 8 | body[1]
        if len(body) > 2 and body[2] >= FAILURE:
            self.refused(packet_id, body[2])
        else:
            self.acknowledged((packet_id,))

    def _hand_over(self, head: int, body: bytes) -> MQTTErrorCode:
        self._in_packet = {
            "command": head,
            "have_remaining": 1,
            "remaining_count": [],
            "remaining_mult": 1,
            "remaining_length": len(body),
            "packet": bytearray(body),
            "to_process": 0,
            "pos": 0,
        }
        return self._packet_handle()


class LoopedClient(SendingClient):
    """The same for paho's own loop in a thread, which keeps the connection alive; `write` and
    `next_id` may be used by any thread."""

    def renew(self) -> None:
        """Forget the last connection: before each attempt to connect."""
        self._rest = b""

    def next_id(self) -> int:
        """A packet id; subscriptions have theirs of the same numbers."""
        return self._mid_generate()

    def alive(self) -> None:
        """Have paho know it."""
        self._hand_over(_PINGRESP, b"")

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read what the socket holds."""
        try:
            code = super().loop_read(max_packets)
        except MalformedAnswerError:
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_PROTOCOL)
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()
        return code


def _body(data: bytes, at: int) -> int:
    """Where the body of the packet at `at` begins; behind `data` if that cannot be told yet."""
    for place in range(at + 1, at + 5):
        if place >= len(data):
            return len(data) + 1
        if data[place] < 128:
            return place + 1
    raise MalformedAnswerError("length of more than four bytes")


def _end(data: bytes, at: int) -> int:
    """Where that packet ends; behind `data` if not all of it is there."""
    start = _body(data, at)
    if start > len(data):
        return start
    return start + sum((data[at + 1 + n] & 127) << 7 * n for n in range(start - at - 1))
