"""One connection to a broker that messages are sent over, many at a time, until the broker has
acknowledged them. On the event loop; only connecting has a thread.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from paho.mqtt import MQTTException
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.reasoncodes import ReasonCode

from gateway.core.contracts import Endpoint
from gateway.core.errors import BerrygateError, ConfigError, Denied, Unavailable
from gateway.io.blocking import Blocking
from gateway.io.mqtt.connection import make_client, version_of
from gateway.io.mqtt.reasons import of_connection
from gateway.io.mqtt.sending import MalformedAnswerError, SendingClient

_KEEPALIVE = 30
_GATHER = 0.002  # how long acknowledgements may gather before they are read (s)
_CHUNK = 64 * 1024  # bytes of one write: what does not fit the socket is copied at each attempt
_UNLIMITED = 65_535  # messages in flight where the broker names no limit


@dataclass(slots=True)
class Sending:
    """Messages on their way. packets: the n-th has packet id n + 1. unanswered: packet ids that
    are not acknowledged; refused: reason codes by packet id."""

    packets: Sequence[bytes]
    unanswered: set[int] = field(init=False)
    refused: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.unanswered = set(range(1, len(self.packets) + 1))


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the broker allows. packet: most bytes of one, or None. in_flight: most messages that
    are not acknowledged. qos: the highest it takes. retain: whether it keeps messages."""

    packet: int | None = None
    in_flight: int = _UNLIMITED
    qos: int = 2
    retain: bool = True


class Sender:
    """See the module. `send` is for one caller at a time. allowed: known once it is open. hung_up:
    whether the broker ended the last connection without a word.

    window: most messages in flight. timeout: longest without any progress (s).
    """

    def __init__(
        self, endpoint: Endpoint, client_id: str, window: int, timeout: float, threads: Blocking
    ) -> None:
        self.allowed = Allowed()
        self.hung_up = False
        self._endpoint = endpoint
        self._client_id = client_id
        self._window = window
        self._timeout = timeout
        self._threads = threads
        self._client: SendingClient | None = None
        self._socket: socket.socket | None = None
        self._ended: BerrygateError | None = None
        self._accepted = False
        self._sending: Sending | None = None
        self._pings = self._pongs = 0
        self._wake = asyncio.Event()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._client is not None and self._ended is None

    # -- from connecting to closing ---------------------------------------------------------

    async def open(self) -> None:
        """Connect and be let in. Raises Unavailable, Throttled or Denied."""
        self.close()
        self._ended, self._accepted, self.hung_up = None, False, False
        self._pings = self._pongs = 0
        given_up = threading.Event()
        try:
            client = await self._threads.call(partial(self._dial, given_up), self._timeout + 1.0)
        except (OSError, ValueError, ConfigError) as error:
            given_up.set()
            raise _failure(error) from error
        except asyncio.CancelledError:
            given_up.set()
            raise
        self._client = client
        found = client.socket()
        if not isinstance(found, socket.socket):
            self._end(Unavailable("the connection ended at once"))
            raise Unavailable("the connection ended at once")
        self._socket = found
        client.on_socket_close = self._closing
        self._listen()
        try:
            await self._until(lambda: self._accepted)
        except BaseException:
            self.close()
            raise
        self._beat_later(client)

    def close(self) -> None:
        """Say goodbye, if that can be said at once, and hang up."""
        client, self._client = self._client, None
        if client is None:
            return
        if self._ended is None and not client.want_write():
            client.disconnect()
        self._ended = self._ended or Unavailable("closed")
        client.hang_up()

    def _dial(self, given_up: threading.Event) -> SendingClient:
        """In a thread: names, TCP, TLS, and a CONNECT written."""
        factory = partial(SendingClient, reconnect_on_failure=False)
        made = make_client(self._endpoint, self._client_id, clean=True, factory=factory)
        assert isinstance(made, SendingClient)
        made.on_connect = self._answered
        made.on_disconnect = self._disconnected
        made.acknowledged, made.refused, made.alive = self._taken, self._refused, self._alive
        made.connect_timeout = self._timeout
        clean: dict[str, Any] = {}
        if version_of(self._endpoint) == MQTTv5:
            clean = {"clean_start": True}
        made.connect_async(self._endpoint.host, self._endpoint.port, _KEEPALIVE, **clean)
        made.reconnect()
        if given_up.is_set():
            made.hang_up()
        return made

    def _answered(
        self, client: Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Any
    ) -> None:
        if client is not self._client:
            return  # one that was given up
        if reason.is_failure:
            self._end(of_connection(reason.value, _said(reason, properties)))
            return
        self.allowed = Allowed(
            packet=getattr(properties, "MaximumPacketSize", None),
            in_flight=getattr(properties, "ReceiveMaximum", _UNLIMITED),
            qos=getattr(properties, "MaximumQoS", 2),
            retain=bool(getattr(properties, "RetainAvailable", True)),
        )
        self._accepted = True
        self._wake.set()

    def _disconnected(
        self, client: Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Any
    ) -> None:
        if client is not self._client:
            return  # one that was given up, perhaps in its own thread
        if flags.is_disconnect_packet_from_server:
            said = _said(reason, properties)
            self._end(of_connection(reason.value, said, self._sending is not None))
        elif self._ended is None:
            self.hung_up = True
            self._end(Unavailable("the broker closed the connection"))

    def _end(self, error: BerrygateError) -> None:
        self._ended = self._ended or error
        self._wake.set()

    def _closing(self, client: Client, userdata: Any, sock: Any) -> None:
        """Before the socket is closed: its number may be another's right after."""
        loop = asyncio.get_running_loop()
        if self._socket is not None and sock is self._socket:
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
            self._socket = None
        for timer in self._timers.values():
            timer.cancel()

    # -- sending ----------------------------------------------------------------------------

    async def send(self, sending: Sending, acknowledged: bool = True) -> None:
        """Send all; return once the broker has answered each, or, where it does not acknowledge
        (QoS 0), has read them. Raises what ended the connection; `sending` then knows what was
        taken before."""
        self._sending = sending
        try:
            await self._send(sending, acknowledged)
        finally:
            self._sending = None

    async def _send(self, sending: Sending, acknowledged: bool) -> None:
        total = len(sending.packets)
        window = min(self._window, self.allowed.in_flight) if acknowledged else total
        size = sum(map(len, sending.packets))
        most = max(1, _CHUNK * total // max(size, 1))
        sent = 0

        def done() -> bool:
            nonlocal sent
            flying = len(sending.unanswered) - (total - sent) if acknowledged else 0
            # Half of the window at a time: one write for many.
            if flying <= window // 2:
                sent = self._write(sending.packets, sent, window - flying, most)
            return sent == total and not (acknowledged and sending.unanswered)

        await self._until(done)
        if not acknowledged:
            self._ping()
            await self._until(lambda: self._pongs >= self._pings)
            sending.unanswered.clear()

    def _write(self, packets: Sequence[bytes], start: int, room: int, most: int) -> int:
        """Write packets from `start` on, up to `room`, as far as the socket takes them; where to
        go on. most: so many in one write."""
        client = self._client
        last = min(start + room, len(packets))
        while start < last and client is not None and not self._ended and not client.want_write():
            stop = min(start + most, last)
            client.write(b"".join(packets[start:stop]))
            start = stop
        self._flush_later()
        return start

    async def _until(self, done: Callable[[], bool]) -> None:
        """Until `done()`, which is asked after each progress; it may write. Raises what ended the
        connection."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout) as limit:
                while True:
                    self._wake.clear()
                    if self._ended:
                        raise self._ended
                    if done():
                        return
                    await self._wake.wait()
                    limit.reschedule(loop.time() + self._timeout)
        except TimeoutError as error:
            self._end(Unavailable(f"no answer within {self._timeout:g} s"))
            self.close()
            assert self._ended is not None
            raise self._ended from error

    def _taken(self, packet_ids: Sequence[int]) -> None:
        if self._sending is not None:
            self._sending.unanswered.difference_update(packet_ids)
        self._wake.set()

    def _refused(self, packet_id: int, code: int) -> None:
        if self._sending is not None:
            self._sending.refused[packet_id] = code
        self._taken((packet_id,))

    # -- the socket -------------------------------------------------------------------------

    def _listen(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def _readable(self) -> None:
        """Something has come. While we send, more will: waking up for each acknowledgement costs
        more than all the rest. Not after the last one, or the next send would wait for its own."""
        self._guarded("loop_read")
        sending = self._sending
        if self._socket is not None and sending is not None and sending.unanswered:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            self._timers["listen"] = loop.call_later(_GATHER, self._resume)

    def _resume(self) -> None:
        self._guarded("loop_read")
        self._listen()

    def _writable(self) -> None:
        self._guarded("loop_write")
        if self._socket is not None and self._client is not None:
            if not self._client.want_write():
                asyncio.get_running_loop().remove_writer(self._socket)
            self._wake.set()

    def _flush_later(self) -> None:
        if self._socket is not None and self._client is not None and self._client.want_write():
            asyncio.get_running_loop().add_writer(self._socket, self._writable)

    def _guarded(self, what: str) -> None:
        """What garbage makes paho raise must end this connection, and nothing else."""
        client = self._client
        if client is None:
            return
        try:
            getattr(client, what)()
        except (MQTTException, MalformedAnswerError, ValueError, LookupError, TypeError) as error:
            protocol = self._endpoint.protocol
            self._end(Unavailable(f"the other side does not speak MQTT {protocol}: {error}"))
            client.hang_up()

    def _alive(self) -> None:
        self._pongs += 1
        self._wake.set()

    def _ping(self) -> None:
        if self._client is not None and not self._ended:
            self._pings += 1
            self._client.ping()
            self._flush_later()

    def _beat(self) -> None:
        """Now and then show that we are here, and see that the broker is."""
        client = self._client
        if client is None or self._ended:
            return
        if self._pongs < self._pings and self._sending is None:
            self._end(Unavailable("the broker no longer answers"))
            client.hang_up()
            return
        if not client.want_write():
            self._ping()
        self._beat_later(client)

    def _beat_later(self, client: SendingClient) -> None:
        if client.patience:
            loop = asyncio.get_running_loop()
            self._timers["beat"] = loop.call_later(client.patience / 2, self._beat)


def _said(reason: ReasonCode, properties: Any) -> str:
    more = getattr(properties, "ReasonString", "")
    where = getattr(properties, "ServerReference", "")
    return ": ".join(filter(None, (str(reason), more, where)))


def _failure(error: Exception) -> BerrygateError:
    """What an attempt to connect ended in, in our terms."""
    if isinstance(error, ConfigError):
        return Denied(str(error), fix=error.fix)
    if isinstance(error, TimeoutError):
        return Unavailable("no answer in time")
    if isinstance(error, ssl.SSLCertVerificationError):
        fix = "set ca_file to the authority that signed the broker's certificate"
        return Denied(f"the broker's certificate: {error.verify_message or error}", fix=fix)
    return Unavailable(str(error) or type(error).__name__)
