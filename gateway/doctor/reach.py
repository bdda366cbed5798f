"""Getting through to another machine, step by step, so that the step that fails is named."""

import socket
import ssl
import time
from urllib.parse import urlsplit

from paho.mqtt.client import Client

from gateway.core.contracts import Endpoint
from gateway.core.errors import Denied, Unavailable
from gateway.io.mqtt.connection import make_client

_STEP = 4.0
_PORTS = {"http": 80, "https": 443, "mqtt": 1883, "mqtts": 8883}
_TLS = ("https", "mqtts")


def by_url(url: str, ca_file: str | None, verify: bool) -> str:
    """Name, TCP and TLS of the server in a URL; what was seen. Blocks; raises Unavailable."""
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme, 443)
    return by_address(parts.hostname or "", port, parts.scheme in _TLS, ca_file, verify)


def by_address(host: str, port: int, tls: bool, ca_file: str | None, verify: bool) -> str:
    """As `by_url`."""
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        raise Unavailable(
            f"DNS: {host} is not known: {error.strerror}",
            fix=f"correct the host name, or the resolver: getent hosts {host}",
        ) from error
    began = time.monotonic()
    try:
        connection = socket.create_connection((host, port), _STEP)
    except OSError as error:
        raise Unavailable(
            f"TCP: {host}:{port} ({address}): {error.strerror or error}",
            fix=f"start the server, or correct host and port: nc -vz {host} {port}",
        ) from error
    seen = f"{address} port {port}, TCP {1000 * (time.monotonic() - began):.0f} ms"
    with connection:
        return f"{seen}, {_handshake(connection, host, ca_file, verify)}" if tls else seen


def _handshake(connection: socket.socket, host: str, ca_file: str | None, verify: bool) -> str:
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        with context.wrap_socket(connection, server_hostname=host) as secured:
            return f"{secured.version()}{'' if verify else ' (not verified)'}"
    except ssl.SSLCertVerificationError as error:
        raise Unavailable(
            f"TLS: {error.verify_message}",
            fix="set ca_file to the authority that signed the server's certificate",
        ) from error
    except OSError as error:
        raise Unavailable(
            f"TLS: {error.strerror or error}", fix="see that the server speaks TLS on this port"
        ) from error


def greet(endpoint: Endpoint, client_id: str) -> str:
    """Name, TCP, TLS, then CONNECT and CONNACK with a broker, in a session of our own that leaves
    nothing behind. Blocks; raises Unavailable, Denied, or ConfigError for a certificate."""
    seen = by_address(endpoint.host, endpoint.port, endpoint.tls, endpoint.ca_file, endpoint.verify)
    answers: list[str] = []
    client = make_client(endpoint, client_id, clean=True)
    client.connect_timeout = _STEP

    def connected(
        client: Client, userdata: object, flags: object, reason: object, _: object
    ) -> None:
        answers.append(str(reason))

    client.on_connect = connected
    try:
        client.connect(endpoint.host, endpoint.port, keepalive=10)
        deadline = time.monotonic() + _STEP
        while not answers and time.monotonic() < deadline:
            client.loop(0.05)
    except OSError as error:
        raise Unavailable(f"MQTT: {error}", fix="see that it is an MQTT broker") from error
    finally:
        client.disconnect()
    if not answers:
        fix = "see that it is an MQTT broker, and its log for why it does not answer"
        raise Unavailable("MQTT: no answer to CONNECT", fix=fix)
    if answers[0] != "Success":
        raise Denied(f"MQTT: {answers[0]}", fix="correct username and password at the broker")
    return f"{seen}, MQTT {endpoint.protocol} connected"
