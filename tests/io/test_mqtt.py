"""Clients are what their endpoint asks for, and stay connected whatever comes."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.core.contracts import Endpoint
from gateway.core.errors import ConfigError
from gateway.core.mqtt_url import parse_url
from gateway.io.mqtt.bulk import BulkClient
from gateway.io.mqtt.connection import Connection, connect_properties, make_client
from tests.support.ports import free_port
from tests.support.scripted import CONNACK, scripted


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.01)


@contextmanager
def connected(
    port: int, protocol: str = "5", on_connect: Callable[..., None] | None = None
) -> Iterator[tuple[Connection, list[str]]]:
    """A connection at work, and the reasons for which it was lost."""
    endpoint = Endpoint(port=port, protocol=protocol)
    client = make_client(endpoint, "x", clean=True, factory=BulkClient)
    assert isinstance(client, BulkClient)
    client.on_frames = lambda frames, generation: None
    client.on_connect = on_connect
    lost: list[str] = []
    made = Connection(client, endpoint, clean=True, lost=lost.append, before=client.renew)
    made.start()
    try:
        yield made, lost
    finally:
        made.stop()


GARBAGE = {
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "zeros": bytes(50),
    "a CONNACK cut short": b"\x20\x01\x00",
    "a CONNACK with unknown properties": b"\x20\x05\x00\x00\x02\xfe\x01",
    "a SUBACK without reasons": b"\x90\x01\x00",
    "a SUBACK with an unknown reason": b"\x90\x04\x00\x01\x00\x77",
    "a DISCONNECT with an unknown reason": b"\xe0\x01\x77",
    "a PUBREL cut short": b"\x62\x01\x00",
    "a QoS 2 PUBLISH cut short": b"\x34\x02\x00\x09",
    "a PUBLISH shorter than its topic": b"\x30\x03\x00\x09a",
    "a length that never ends": b"\x30\xff\xff\xff\xff\xff\x01",
}


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_does_not_end_the_thread(
    garbage: bytes, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A thread that ended would be a source that hears nothing for ever, and looks well."""
    with scripted(garbage, hang_up=True) as peer, connected(peer.port, protocol) as (_, lost):
        until(lambda: len(peer.heard) >= 2)
        assert lost[0]
    # The other side's fault: a traceback would make it look like ours.
    assert [record for record in caplog.records if record.exc_info] == []


def test_a_bug_in_a_callback_is_told_once_and_does_not_end_the_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("planted")

    with scripted(CONNACK["5"]) as peer, connected(peer.port, "5", broken) as (_, lost):
        until(lambda: len(lost) >= 3)
    assert "planted" in lost[0]
    told = [record for record in caplog.records if "planted" in record.message and record.exc_info]
    assert len([record for record in told if record.name == "gateway.io.mqtt.connection"]) == 1


def test_the_brokers_own_reason_is_told() -> None:
    taken_over = b"\xe0\x01\x8e"  # MQTT 5.0 section 3.14.2.1
    with scripted(CONNACK["5"] + taken_over) as peer, connected(peer.port) as (_, lost):
        until(lambda: bool(lost))
    assert lost[0].startswith("Session taken over: another client uses the client id")


def test_pauses_grow_although_each_connection_is_accepted_first() -> None:
    taken_over = b"\xe0\x01\x8e"
    with scripted(CONNACK["5"] + taken_over) as peer, connected(peer.port) as (made, lost):
        until(lambda: len(lost) >= 4)
        assert made._pause >= 2.0
        assert len(peer.heard) <= len(lost) + 1


def test_who_was_refused_waits_longest() -> None:
    with scripted(b"\x20\x03\x00\x87\x00") as peer:
        holder: list[Connection] = []
        with connected(peer.port, "5", lambda *_: holder[0].slow_down()) as (made, lost):
            holder.append(made)
            until(lambda: bool(lost))
            assert made._pause == 30.0


@pytest.mark.parametrize("answer", [b"", CONNACK["5"]], ids=["silent", "accepting"])
def test_stopping_needs_no_answer(answer: bytes) -> None:
    with scripted(answer) as peer:
        with connected(peer.port) as (made, _):
            until(lambda: bool(peer.heard and peer.heard[0]))
            time.sleep(0.2)
        assert not made._thread.is_alive()
        until(lambda: peer.heard[0].endswith(b"\xe0\x00"))  # DISCONNECT: no will is sent


def test_a_host_that_is_not_there_is_tried_again() -> None:
    with connected(free_port()) as (_, lost):
        until(lambda: len(lost) >= 2)
    assert "refused" in lost[0].lower()


def test_a_session_is_kept_or_not() -> None:
    kept, clean = connect_properties(False, 77), connect_properties(True)
    assert kept.SessionExpiryInterval > 86_400
    assert kept.ReceiveMaximum == 77
    assert not hasattr(clean, "SessionExpiryInterval")
    for choice in (True, False):
        client = make_client(Endpoint(protocol="3.1.1"), "x", clean=choice)
        assert client._clean_session is choice


def test_credentials_and_will() -> None:
    endpoint = Endpoint(username="user", password="secret")
    client = make_client(endpoint, "x", clean=True, will=("a/b", b"gone"))
    assert (client._username, client._password) == (b"user", b"secret")
    assert (client._will_topic, client._will_payload) == (b"a/b", b"gone")
    assert client._will_retain
    assert "secret" not in repr(endpoint)


def test_tls_verifies_unless_told_otherwise() -> None:
    strict = make_client(Endpoint(tls=True), "x", clean=True)._ssl_context
    loose = make_client(Endpoint(tls=True, verify=False), "x", clean=True)._ssl_context
    assert strict is not None
    assert loose is not None
    assert strict.verify_mode == ssl.CERT_REQUIRED
    assert strict.check_hostname
    assert loose.verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize("field", ["ca_file", "cert_file"])
@pytest.mark.parametrize("content", [None, "not a certificate"])
def test_a_certificate_that_cannot_be_used_is_named(
    tmp_path: Path, field: str, content: str | None
) -> None:
    file = tmp_path / "some.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=r"some\.pem") as refused:
        make_client(Endpoint(tls=True, **{field: str(file)}), "x", clean=True)  # type: ignore[arg-type]
    assert field in (refused.value.fix or "")


def test_a_broker_that_is_not_whom_it_says_is_refused(tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=stranger", "-keyout", "key", "-out", "cert"],
        check=True, capture_output=True, cwd=tmp_path,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                    context.wrap_socket(client, server_side=True).close()
                except ssl.SSLError:
                    continue
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        endpoint = Endpoint(port=server.getsockname()[1], tls=True)
        lost: list[str] = []
        client = make_client(endpoint, "x", clean=True)
        made = Connection(client, endpoint, clean=True, lost=lost.append)
        made.start()
        try:
            until(lambda: bool(lost))
        finally:
            made.stop()
            server.shutdown(socket.SHUT_RDWR)
    assert "certificate" in lost[0].lower()


def test_urls() -> None:
    assert parse_url("mqtt://broker") == Endpoint(host="broker")
    found = parse_url("mqtts://us%40er:p%3Aw@broker:1234")
    assert (found.host, found.port, found.tls) == ("broker", 1234, True)
    assert (found.username, found.password) == ("us@er", "p:w")
    assert parse_url("mqtts://broker").port == 8883
    for wrong in ("http://broker", "mqtt://", "broker:1883"):
        with pytest.raises(ValueError, match="broker"):
            parse_url(wrong)
