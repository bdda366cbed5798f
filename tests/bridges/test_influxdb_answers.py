"""What becomes of readings by what an InfluxDB, or whatever else is at its address, answers."""

import asyncio
import json
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.codecs.line_refusals import refusals
from gateway.core.contracts import Batch, Bridge, Reading
from gateway.core.errors import BerrygateError, Denied, Rejected, Throttled, Unavailable
from gateway.io.http import retry_after
from tests.bridges.test_influxdb import NOW, batch, bridge, old, send
from tests.support.http_peer import Asked, Said, http_peer
from tests.support.influx import influx_1
from tests.support.ports import free_port
from tests.support.proxy import proxy

HTML = {"Content-Type": "text/html; charset=utf-8"}


def sink(url: str, version: str, **more: Any) -> Bridge[Any]:
    if version == "2":
        return bridge(url, **more)
    given = {"database": "test", "username": "u", "password": "secret-word", **more}
    return bridge(url, version="1", token=None, org=None, bucket=None, **given)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        (Said(400, b'{"error":"something"}'), Rejected, "something"),
        (Said(422, b'{"message":"something"}'), Rejected, "something"),
        (Said(401, b'{"message":"unauthorized"}'), Denied, "unauthorized"),
        (Said(403, b"forbidden"), Denied, "forbidden"),
        (Said(402, b"over the quota"), Denied, "quota"),
        (Said(404, b'{"error":"database not found"}'), Denied, "not found"),
        (Said(405), Denied, "405"),
        (Said(407), Denied, "407"),
        (Said(408), Unavailable, "408"),
        (Said(425), Unavailable, "425"),
        (Said(429, b"slow down", {"Retry-After": "7"}), Throttled, "slow down"),
        (Said(503, b"busy", {"retry-after": "7"}), Throttled, "busy"),
        (Said(500, b'{"error":"timeout"}'), Unavailable, "timeout"),
        (Said(502, b"<html>bad gateway</html>"), Unavailable, "bad gateway"),
        (Said(400, b"<html>plain HTTP to an HTTPS port</html>", HTML), Denied, "a web page"),
        (Said(200, b"<html>welcome to the hotel</html>", HTML), Denied, "a web page"),
        (Said(301, b"", {"Location": "/elsewhere"}), Denied, "redirects"),
    ],
)  # fmt: skip
async def test_what_an_answer_means(
    version: str, said: Said, error: type[BerrygateError], message: str
) -> None:
    """Above all: what a person or time can put right never makes dead letters of good readings."""
    with http_peer(lambda asked: said) as peer:
        with pytest.raises(BerrygateError, match=message) as refused:
            await send(sink(peer.url, version), batch(3))
        assert type(refused.value) is error
        assert "secret" not in str(refused.value)
        if isinstance(refused.value, Throttled):
            assert refused.value.after == 7.0
        if isinstance(refused.value, Rejected):
            assert refused.value.indices is None
        assert len(peer.asked) == 1


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_carries_neither_readings_nor_secrets_away(
    version: str, status: int
) -> None:
    with http_peer(lambda asked: Said()) as elsewhere:
        said = Said(status, b"", {"Location": f"{elsewhere.url}/write"})
        with http_peer(lambda asked: said) as peer:
            with pytest.raises(Denied, match="redirects") as refused:
                await send(sink(peer.url, version), batch(1))
            assert refused.value.fix == "give the final url"
        assert elsewhere.asked == []


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_proxy_of_the_environment_is_not_used(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with http_peer(lambda asked: Said()) as peer:
        await send(sink(peer.url, version), batch(1))
        assert len(peer.asked) == 1


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_connection_is_used_again_and_closed(version: str) -> None:
    answers = iter([Said(), Said(400, b'{"error":"no"}'), Said(200, b"{}"), Said()])
    before = set(threading.enumerate())
    with http_peer(lambda asked: next(answers)) as peer:
        made = sink(peer.url, version)
        async with made.connect() as conn:
            await made.send(conn, batch(2))
            with pytest.raises(Rejected):
                await made.send(conn, batch(2))
            await made.send(conn, batch(2))
            await made.send(conn, batch(2))
        assert (len(peer.asked), peer.connections) == (4, 1)
        ours = set(threading.enumerate()) - before
        assert {each.name for each in ours if "influx" in each.name} == {"influxdb-sink"}


async def test_an_answer_that_is_no_text_makes_no_dead_letters() -> None:
    said = Said(400, b"\xff\xfe\x00")
    with http_peer(lambda asked: said) as peer, pytest.raises(Unavailable, match="not UTF-8"):
        await send(bridge(peer.url), batch(1))


async def test_a_connection_reset_before_the_answer_is_sent_again_once_each(tmp_path: Path) -> None:
    """The body was taken, the answer never came: writing it again changes nothing."""
    with influx_1(tmp_path) as server, proxy(server.port) as between:
        made = old(f"http://127.0.0.1:{between.port}")
        between.limit = 0  # the first byte of an answer cuts the connection
        for _ in range(3):
            with pytest.raises(Unavailable):
                await send(made, batch(50))
        between.limit = None
        await send(made, batch(50))
        assert server.values("soil", "n") == [float(n) for n in range(50)]


async def test_a_server_that_answers_too_late(tmp_path: Path) -> None:
    with influx_1(tmp_path) as server, proxy(server.port) as between:
        made = old(f"http://127.0.0.1:{between.port}")
        between.delay = 1.5  # the bridge waits for 1 s
        with pytest.raises(Unavailable, match=r"timed out|no answer"):
            await send(made, batch(20))
        between.delay = 0.0
        await send(made, batch(20))
        assert server.values("soil", "n") == [float(n) for n in range(20)]


# -- TLS ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that only its own file vouches for; the key in the same file."""
    directory = tmp_path_factory.mktemp("tls")
    path = directory / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", directory / "key.pem", "-out", path],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + (directory / "key.pem").read_text())
    return path


@pytest.mark.parametrize("version", ["1", "2"])
async def test_tls(version: str, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with http_peer(lambda asked: Said(), context) as peer:
        with pytest.raises(Denied, match="verify failed") as refused:
            await send(sink(peer.url, version), batch(1))
        assert refused.value.fix is not None
        assert "ca_file" in refused.value.fix
        assert peer.asked == []
        await send(sink(peer.url, version, ca_file=str(certificate)), batch(1))
        await send(sink(peer.url, version, verify=False), batch(1))
        assert len(peer.asked) == 2
        with pytest.raises(Denied, match="nowhere"):
            await send(sink(peer.url, version, ca_file="/nowhere.pem"), batch(1))


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_handshake_that_never_ends(version: str) -> None:
    """A listener that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable, match=r"timed out|no answer"):
                await send(sink(url, version), batch(1))


# -- which lines are to blame ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("readings", "reason"),
    [
        ({17: {"n": "text"}}, "field type conflict: .* type string, already exists as type float"),
        ({0: {"n": "a"}, 250: {"n": "b"}, 499: {"n": "c"}}, "type string"),
        ({n: {"n": True} for n in range(500)}, "type boolean"),
    ],
)  # fmt: skip
async def test_the_real_server_names_them_and_one_request_is_enough(
    tmp_path: Path, readings: dict[int, Any], reason: str
) -> None:
    with influx_1(tmp_path) as server, proxy(server.port) as between:
        made = old(f"http://127.0.0.1:{between.port}")
        await send(made, Batch(1, 2, [Reading("soil", NOW - 1, {"n": 1.0})]))
        work = batch(500)
        for place, values in readings.items():
            work.readings[place].values = values
        with pytest.raises(Rejected, match=reason) as refused:
            await send(made, work)
        assert refused.value.indices == sorted(readings)
        assert len(server.values("soil", "n")) == 501 - len(readings)


async def test_two_kinds_of_conflict_are_not_guessed_at(tmp_path: Path) -> None:
    with influx_1(tmp_path) as server:
        made = old(server.url)
        await send(made, batch(1))
        work = batch(20)
        work.readings[3].values = {"n": "text"}
        work.readings[5].values = {"n": True}
        with pytest.raises(Rejected) as refused:
            await send(made, work)
        assert refused.value.indices is None  # two were dropped, one kind is named: bisect


async def test_lines_that_one_server_minds_are_left_out_and_the_rest_sent_again() -> None:
    """InfluxDB 2 takes nothing of a body with a line that it cannot parse, and quotes that line."""
    bad = {"soil n=3", "soil n=7"}

    def answer(asked: Asked) -> Said:
        for line in asked.body.decode().split("\n"):
            if any(line.startswith(start) for start in bad):
                text = f"unable to parse '{line}': invalid number"
                return Said(400, json.dumps({"code": "invalid", "message": text}).encode())
        return Said()

    with http_peer(answer) as peer:
        readings = [Reading("soil", NOW, {"n": float(n)}) for n in (1, 3, 5, 7)]
        with pytest.raises(Rejected, match="unable to parse: invalid number") as refused:
            await send(bridge(peer.url), Batch(1, 5, readings))
        assert refused.value.indices == [1, 3]
        assert len(peer.asked) == 3
        assert peer.asked[-1].body.decode().count("\n") == 1


LINES = ['m a=1', "m b='': 2", "m c=3", "m c=3"]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "places", "rest_taken"),
    [
        ('{"error":"partial write: unable to parse \'m a=1\': invalid\\nunable to parse \'m c=3\': '
         'worse dropped=0"}', {0: "invalid", 2: "worse", 3: "worse"}, True),
        ('{"error":"unable to parse \'m b=\'\': 2\': odd"}', {1: "odd"}, False),
        ('{"error":"unable to parse \'m a=1", "code": 1}', {}, False),
        ('{"error":"partial write: points beyond retention policy dropped=4"}',
         dict.fromkeys(range(4), "retention policy"), True),
        ('{"error":"partial write: points beyond retention policy dropped=1"}', {}, False),
        ('{"error":"partial write of line protocol occurred","data":[{"original_line":"m c=3",'
         '"line_number":3,"error_message":"no digit"}]}', {2: "no digit"}, True),
        ('{"message":"partial write: line 2 is odd, line 99 too"}', {1: "odd"}, True),
        ('{"message":"line 2 of something"}', {}, False),
        ('[1, 2]', {}, False),
        ("plain text", {}, False),
        ("[" * 100_000, {}, False),
        ("", {}, False),
    ],
)  # fmt: skip
def test_which_lines_are_to_blame(text: str, places: dict[int, str], rest_taken: bool) -> None:
    found = refusals(text, LINES, lambda measurement, field, kind: [])
    assert set(found.reasons) == set(places)
    assert all(reason in found.reasons[place] for place, reason in places.items())
    assert found.rest_taken is rest_taken


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("7", 7.0), (" 7 ", 7.0), ("99999999", 3600.0), ("", 1.0), ("soon", 1.0),
     ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0), ("Fri, 31 Dec 2100 23:59:59 GMT", 3600.0),
     ("Thu, 01 Jan 1970 00:00:00", 0.0), ("-5", 1.0), ("²", 1.0)],
)  # fmt: skip
def test_retry_after(value: str, seconds: float) -> None:
    assert retry_after({"retry-after": value}) == seconds
