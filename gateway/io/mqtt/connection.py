"""MQTT clients: made from an endpoint, and kept connected by a thread of their own."""

import logging
import random
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from paho.mqtt import MQTTException
from paho.mqtt.client import MQTT_ERR_SUCCESS, Client, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.core.contracts import Endpoint
from gateway.core.errors import ConfigError
from gateway.io.here import is_here
from gateway.io.mqtt.rivals import Rivals

log = logging.getLogger(__name__)

SESSION_EXPIRY = 7 * 86_400
"""How long a broker keeps what arrives while we are away (s), MQTT 5.0 section 3.1.2.11.2."""
_STABLE = 10.0  # a connection that held so long is not one that is thrown out again (s)
_FIRST, _LONGEST = 0.25, 30.0
_NEAR = 2.0  # the same for a broker on this machine: to ask it costs nobody anything
_TICK = 1.0
_LOOK, _SETTLE = 0.005, 0.05


def version_of(endpoint: Endpoint) -> MQTTProtocolVersion:
    """paho's constant for the endpoint's protocol."""
    return MQTTv5 if endpoint.protocol == "5" else MQTTv311


def make_client(
    endpoint: Endpoint,
    client_id: str,
    *,
    clean: bool,
    will: tuple[str, bytes] | None = None,
    factory: Callable[..., Client] = Client,
) -> Client:
    """A paho client, not yet connected. will: topic and payload, retained, QoS 1.

    Raises ConfigError if a certificate cannot be used.
    """
    version = version_of(endpoint)
    client = factory(
        callback_api_version=CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=version,
        manual_ack=True,
        **({} if version == MQTTv5 else {"clean_session": clean}),
    )
    if endpoint.username:
        client.username_pw_set(endpoint.username, endpoint.password or None)
    if endpoint.tls:
        client.tls_set_context(_tls(endpoint))
        client.tls_insecure_set(not endpoint.verify)
    if will is not None:
        client.will_set(will[0], will[1], qos=1, retain=True)
    return client


def _tls(endpoint: Endpoint) -> ssl.SSLContext:
    # ssl's own errors name neither the file nor what it was for.
    try:
        context = ssl.create_default_context(cafile=endpoint.ca_file or None)
    except OSError as error:
        raise ConfigError(
            f"cannot use the certificates in {endpoint.ca_file}: {error.strerror or error}",
            fix="set ca_file to a readable file of PEM certificates",
        ) from error
    if endpoint.cert_file:
        try:
            context.load_cert_chain(endpoint.cert_file, endpoint.key_file or None)
        except OSError as error:
            files = " and ".join(filter(None, (endpoint.cert_file, endpoint.key_file)))
            raise ConfigError(
                f"cannot use the certificate and key in {files}: {error.strerror or error}",
                fix="set cert_file and key_file to readable PEM files that belong together",
            ) from error
    if not endpoint.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def connect_properties(clean: bool, window: int | None = None) -> Properties:
    """MQTT 5.0 properties of a connection. window: most unacknowledged messages to us."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    if not clean:
        properties.SessionExpiryInterval = SESSION_EXPIRY
    if window is not None:
        properties.ReceiveMaximum = window
    return properties


class Connection:
    """Keeps a client connected until stopped; its callbacks run in this thread.

    After a failure, and also after a connection that was thrown out again at once (two clients
    with one id do that to each other), the pause doubles, with jitter.
    lost: called with a reason each time an attempt or a connection ends; the broker's own where
    it gave one. tick: called often while connected; a text ends the connection for that reason.
    rivals: whether somebody else uses our client id.
    """

    def __init__(
        self,
        client: Client,
        endpoint: Endpoint,
        *,
        clean: bool,
        lost: Callable[[str], None],
        before: Callable[[], None] = lambda: None,
        tick: Callable[[], str] = lambda: "",
        window: int | None = None,
        keepalive: int = 30,
    ) -> None:
        self._client = client
        self._lost = lost
        self._before = before
        self._tick = tick
        self.rivals = Rivals(client._client_id.decode())
        self._accepted = False
        self._stopping = threading.Event()
        self._pause = _FIRST
        self._longest = _NEAR if is_here(endpoint.host) else _LONGEST
        self._said = ""
        self._failed_with = ""
        self._protocol = endpoint.protocol
        client.on_disconnect = self._disconnected
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        if version_of(endpoint) == MQTTv5:
            client.connect_async(
                endpoint.host,
                endpoint.port,
                keepalive,
                clean_start=clean,
                properties=connect_properties(clean, window),
            )
        else:
            client.connect_async(endpoint.host, endpoint.port, keepalive)

    def start(self) -> None:
        """Connect and go on."""
        self._thread.start()

    def slow_down(self) -> None:
        """Wait as long as it gets before the next attempt: the broker answered, and said no."""
        self._pause = _LONGEST

    def stop(self, timeout: float = 1.0) -> None:
        """Send DISCONNECT and end the thread; blocks for at most about `timeout` seconds."""
        deadline = time.monotonic() + timeout
        # A broker that finds the connection closed throws away what it has not read of it yet,
        # our last acknowledgements among it.
        if self._client.is_connected():
            while self._client.want_write() and time.monotonic() < deadline - _SETTLE:
                time.sleep(_LOOK)
            time.sleep(_SETTLE)
        self._stopping.set()
        self._client.disconnect()
        self._thread.join(max(deadline - time.monotonic(), _SETTLE))

    def _run(self) -> None:
        # paho writes from whichever thread calls it unless it believes its own thread does that;
        # two threads would mix bytes of two packets on the wire.
        self._client._thread = threading.current_thread()
        while not self._stopping.is_set():
            started, self._said, self._accepted = time.monotonic(), "", False
            reason = self._served()
            if self._stopping.is_set():
                return
            lived = time.monotonic() - started
            if lived > _STABLE:
                self._pause = _FIRST
            said = self._said or reason
            self._lost(self.rivals.ended(said, bool(self._said), self._accepted, lived))
            self._pause = max(self._pause, self.rivals.pause())
            self._stopping.wait(random.uniform(self._pause / 4, self._pause))
            self._pause = min(self._pause * 2, self._longest)

    def _served(self) -> str:
        """One connection, whatever comes over it: a thread that ended would be a source that
        hears nothing for ever, and looks well."""
        try:
            return self._connect_and_serve()
        except MQTTException as error:
            return f"the other side does not speak MQTT {self._protocol}: {error}"
        except Exception as error:  # the supervisor's edge: one callback's bug
            reason = f"{type(error).__name__}: {error}"
            if reason != self._failed_with:
                log.error("mqtt: %s", reason, exc_info=error)
            self._failed_with = reason
            return reason

    def _disconnected(
        self, client: Client, userdata: Any, flags: Any, reason: ReasonCode, properties: Any
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._said = str(reason)

    def _connect_and_serve(self) -> str:
        """One connection, from its beginning to its end; why it ended."""
        self._before()
        try:
            self._client.reconnect()
        except (OSError, ValueError) as error:
            return str(error) or type(error).__name__
        while not self._stopping.is_set():
            code = self._client.loop(_TICK)
            if code != MQTT_ERR_SUCCESS:
                return code.name.removeprefix("MQTT_ERR_").replace("_", " ").lower()
            if self._client.is_connected():
                self._accepted = True
                if reason := self._tick():
                    return reason
        self._client.loop(0.1)  # the DISCONNECT is still to be written
        return "stopped"
