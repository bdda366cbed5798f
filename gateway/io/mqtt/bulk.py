"""A paho client that reads many packets at a time.

paho reads a packet byte by byte, makes an object of it and calls back for each: some 20 us. This
client takes what the socket holds at once, splits the PUBLISH packets itself in one loop, hands
them up as columns, and acknowledges many in one write: under 1 us each. Connecting, TLS,
subscribing, keep-alive and every other packet stay paho's. It uses private names of paho, which
is why the version is bounded in pyproject.toml and a test looks for these names.

Packets: MQTT 3.1.1 sections 2.2 and 3.3, MQTT 5.0 sections 2.1 and 3.3.
"""

import sys
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import MQTTErrorCode

from gateway.io.mqtt.splitter import Frames, MalformedPacketError, Splitter

PRIVATE_NAMES = (
    "_sock", "_sock_recv", "_in_packet", "_packet_handle", "_packet_queue", "_loop_rc_handle",
    "_last_bytes_received", "_msgtime_mutex", "_thread", "_protocol",
)  # fmt: skip
"""What this file uses of paho that is not documented."""

_PUBACK, _PUBREC = 0x4002, 0x5002  # with the length of what follows
_PUBREL, _PUBCOMP = 0x62, b"\x70\x02"
_READ = 60 * 1024  # below what gets pages of its own each time, see gateway/runtime/allocator.py
_READS = 16  # most reads before what was read is handed up
_GATHER = 0.024  # under load, how long data gathers before it is read, at least and at most (s)
_GATHER_MOST = 0.2
_WORTH = 200  # messages that are worth waking up for, at least
_PLENTY = 256 * 1024  # bytes of one read that are worth it, however few messages: more wait
_BUSY = 100.0  # messages a second from which waking up for each costs more than it brings


class BulkClient(Client):
    """See the module. Set `on_frames` (called in the network thread), `limit` (bytes), `own` (see
    Splitter), and, asked each time, `patience`: the longest that data may gather before it is read
    (s), and `worth`: how many messages are worth waking up for. waited: for how long data gathered
    of what is handed up (s)."""

    on_frames: Callable[[Frames, int], None]
    limit: int = 256_000
    own: bytes = b""
    patience: Callable[[], float] = staticmethod(lambda: _GATHER_MOST)
    worth: Callable[[], int] = staticmethod(lambda: _WORTH)
    waited = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._acknowledging = threading.Lock()
        self._generation = 0
        self._open = False
        self._splitter = self._new_splitter()
        self._read_at = 0.0
        self._size = 0  # bytes of the last read
        self._handled = MQTTErrorCode.MQTT_ERR_SUCCESS

    def renew(self) -> None:
        """Forget the last connection: before each attempt to connect."""
        with self._acknowledging:
            self._generation += 1
            self._open = False
        self._splitter = self._new_splitter()

    def opened(self) -> None:
        """The connection is accepted: acknowledgements may be sent."""
        with self._acknowledging:
            self._open = True

    def acknowledge(self, packet_ids: Sequence[int], generation: int) -> None:
        """Send PUBACK for these in one write, and PUBREC for those of QoS 2, from any thread;
        nothing if the connection that they came over is gone: on another one the same ids mean
        other messages."""
        flat = [_PUBACK] * (2 * len(packet_ids))
        flat[1::2] = packet_ids
        if exact := self._splitter.exact:
            flat[::2] = [_PUBREC if each in exact else _PUBACK for each in packet_ids]
        words = array("H", flat)
        if sys.byteorder == "little":
            words.byteswap()
        with self._acknowledging:
            if self._open and generation == self._generation:
                self._packet_queue(0x40, words.tobytes(), packet_ids[-1], 0)

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Read what the socket holds, split it, hand it up."""
        frames = Frames()
        self._size = 0
        code = self._read(frames)
        if frames.payloads:
            self.on_frames(frames, self._generation)
            self.waited = self._pause(len(frames.payloads)) if self._size < _PLENTY else 0.0
            time.sleep(self.waited)
        return code

    def _read(self, frames: Frames) -> MQTTErrorCode:
        for _ in range(_READS):
            if self._sock is None:
                return MQTTErrorCode.MQTT_ERR_NO_CONN
            try:
                data = self._sock_recv(_READ)
                if not data:
                    return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
                self._size += len(data)
                if not self._splitter.feed(data, frames):
                    return self._loop_rc_handle(self._handled)
            except BlockingIOError:
                break
            except OSError:
                return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
            except (MalformedPacketError, IndexError):
                return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_PROTOCOL)
            with self._msgtime_mutex:
                self._last_bytes_received = time.monotonic()
            if len(data) < _READ and not self._pending():
                break
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _pending(self) -> bool:
        """Bytes that TLS has read already: select does not see them."""
        pending = getattr(self._sock, "pending", None)
        return pending is not None and pending() > 0

    def _pause(self, count: int) -> float:
        """How long data may gather before the next read (s): 0 where it is quiet."""
        now = time.monotonic()
        elapsed, self._read_at = now - self._read_at, now
        if (count > 1 and count > _BUSY * elapsed) or elapsed < 1 / _BUSY:
            wanted = max(self.worth() * elapsed / count, _GATHER)
            return min(wanted, _GATHER_MOST, self.patience())
        return 0.0

    def _new_splitter(self) -> Splitter:
        return Splitter(self.limit, self._protocol == MQTTv5, self._other, self.own)

    def _other(self, head: int, body: bytes) -> bool:
        if head == _PUBREL and len(body) >= 2:
            self._released(body[:2])
            return True
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
        self._handled = self._packet_handle()
        return self._handled == MQTTErrorCode.MQTT_ERR_SUCCESS and self._sock is not None

    def _released(self, packet_id: bytes) -> None:
        """The broker has our PUBREC of a QoS 2 message. paho would answer only what it had
        received itself, and the broker would count the others as in flight for ever."""
        number = int.from_bytes(packet_id, "big")
        self._splitter.exact.discard(number)
        self._packet_queue(0x70, _PUBCOMP + packet_id, number, 0)
