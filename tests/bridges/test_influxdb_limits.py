"""What InfluxDB would refuse, or lose without a word, is refused here, alone and with a reason."""

import random
import re
import string
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bridges.influxdb import InfluxdbSettings
from gateway.codecs.line_protocol import LineEncoder
from gateway.core.contracts import Batch, Reading, Value
from gateway.core.errors import Rejected
from tests.bridges.test_influxdb import NOW, bridge, old, send
from tests.support.http_peer import Asked, Said, http_peer
from tests.support.influx import influx_1
from tests.support.influx2 import influx_2

UNFIT: dict[str, tuple[dict[str, Value], int, str]] = {
    "a field named time": ({"time": 1.0, "a": 1.0}, NOW, "reserved"),
    "a field without a name": ({"": 1.0}, NOW, "reserved"),
    "an integer of 65 bits": ({"a": 2**63}, NOW, "64 bits does not fit"),
    "a negative one": ({"a": -(2**63) - 1}, NOW, "does not fit 64"),
    "a very large one": ({"a": 10**400}, NOW, "does not fit 64"),
    "a long text": ({"a": "x" * 65_537}, NOW, "longer than 65536"),
    "a text that is long in UTF-8": ({"a": "é" * 32_769}, NOW, "longer than 65536"),
    "half a character": ({"a": "\ud800"}, NOW, "surrogate"),
    "half a character in a name": ({"\ud800": 1.0}, NOW, "surrogate"),
    "a long name": ({"n" * 40_000: 1.0}, NOW, "longer than"),
    "not a number": ({"a": float("nan"), "b": float("inf")}, NOW, "no value"),
    "no value at all": ({}, NOW, "no value"),
    "the end of time": ({"a": 1.0}, 2**63 - 1, "outside"),
    "the beginning of time": ({"a": 1.0}, -(2**63), "outside"),
}
FIT: dict[str, dict[str, Value]] = {
    "the longest text": {"a": "x" * 65_536},
    "the largest integers": {"a": 2**63 - 1, "b": -(2**63)},
    "an empty text": {"a": ""},
    "lines in a text": {"a": 'one\ntwo\r\n"three"\\'},
    "a text that ends in a backslash": {"a": "x\\"},
    "odd names": {"a b": 1.0, "c,d": 2.0, "e=f": 3.0, 'g"h': 4.0, "i\nj": 5.0, "k\\": 6.0},
    "other alphabets": {"température": 1.0, "文": "文"},
    "small and large": {"a": 5e-324, "b": 1.7976931348623157e308, "c": -0.0},
    "nan beside a value": {"a": float("nan"), "b": 1.0},
}


def mixed(values: dict[str, Value], time: int = NOW) -> Batch:
    """One reading among two good ones."""
    good = [Reading("good", NOW + n, {"n": float(n)}) for n in range(2)]
    return Batch(1, 4, [good[0], Reading("odd", time, values), good[1]])


@pytest.mark.parametrize("case", UNFIT)
async def test_what_does_not_fit_is_refused_alone(case: str) -> None:
    values, time, reason = UNFIT[case]
    with influx_2() as server:
        with pytest.raises(Rejected, match=reason) as refused:
            await send(bridge(server.url), mixed(values, time))
        assert refused.value.indices == [1]
        assert server.requests == 1
        assert server.values("good", "n") == ["0.0", "1.0"]
        assert {key for key, _ in server.points} == {"good"}


async def test_what_fits_arrives_as_it_was(tmp_path: Path) -> None:
    """All of it at the real server, which has the last word on what fits."""
    with influx_1(tmp_path) as server:
        sink = old(server.url)
        for number, (case, values) in enumerate(FIT.items()):
            await send(sink, Batch(1, 2, [Reading(f"fits-{number}", NOW, values)]))
            found = server.query(f'SELECT * FROM "fits-{number}"')[0]
            stored = dict(zip(found["columns"], found["values"][0], strict=True))
            for name, value in values.items():
                if value == value:
                    # There is no escape for a backslash before a separator.
                    written = re.sub(r"\\$", " ", name.replace("\n", "\\n"))
                    assert stored[written] == value, f"{case}: {name}"


@pytest.mark.parametrize("case", ["a field named time", "a very large one", "half a character"])
async def test_the_real_server_is_spared(tmp_path: Path, case: str) -> None:
    values, time, reason = UNFIT[case]
    with influx_1(tmp_path) as server:
        with pytest.raises(Rejected, match=reason):
            await send(old(server.url), mixed(values, time))
        assert server.values("good", "n") == [0.0, 1.0]


async def test_only_newer_versions_reserve_what_begins_with_an_underscore(tmp_path: Path) -> None:
    with influx_2() as server, pytest.raises(Rejected, match=r'"_x" is reserved.*mapping\.fields'):
        await send(bridge(server.url), mixed({"_x": 1.0}))
    with influx_2() as server:
        await send(bridge(server.url, mapping={"fields": {"_x": "x"}}), mixed({"_x": 1.0}))
        assert server.values("odd", "x") == ["1.0"]
    with influx_1(tmp_path) as old_server:
        await send(old(old_server.url), mixed({"_x": 1.0}))
        assert old_server.values("odd", "_x") == [1.0]


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"measurement": "#{device}"}, "pattern"),
        ({"measurement": ""}, "pattern"),
        ({"tags": {"time": "x"}}, "reserved"),
        ({"tags": {"_field": "x"}}, "reserved"),
        ({"tags": {"": "x"}}, "reserved"),
        ({"fields": {"t": "time"}}, "reserved"),
        ({"fields": {"t": ""}}, "reserved"),
    ],
)
def test_a_mapping_that_would_lose_everything_is_refused(
    mapping: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        InfluxdbSettings.model_validate({"url": "http://a", "bucket": "b", "mapping": mapping})


def test_measurement_and_tags_have_a_limit() -> None:
    encoder = LineEncoder("{device}", {"site": "x" * 40_000}, {})
    lines, unfit = encoder.lines([Reading("a", NOW, {"n": 1.0})])
    assert lines == [""]
    assert "longer than" in unfit[0]


async def test_anything_at_all_is_written_or_refused_with_a_reason(tmp_path: Path) -> None:
    """The real server finds nothing to say against what passed."""
    chance = random.Random(20_261_121)
    alphabet = string.printable + 'é文\ud800\x00\\\\,,==""  '
    pick: list[Any] = [
        lambda: chance.uniform(-1e300, 1e300), lambda: float("inf"), lambda: chance.random() < 0.5,
        lambda: chance.randrange(-(2**64), 2**64),
        lambda: "".join(chance.choices(alphabet, k=chance.randrange(20))),
    ]  # fmt: skip
    readings = [
        Reading(
            f"d{n}", NOW + n,
            {"".join(chance.choices(alphabet, k=chance.randrange(4))): chance.choice(pick)()
             for _ in range(chance.randrange(1, 5))},
        )
        for n in range(500)
    ]  # fmt: skip
    with influx_1(tmp_path) as server:
        with pytest.raises(Rejected) as refused:
            await send(old(server.url), Batch(1, 501, readings))
        indices = refused.value.indices
        assert indices is not None
        ours = ("reserved", "does not fit", "surrogate", "no value")
        foreign = [r for r in refused.value.reasons.values() if not any(o in r for o in ours)]
        assert foreign == []
        [found] = server.query("SHOW MEASUREMENT CARDINALITY")
        assert found["values"] == [[500 - len(indices)]]


async def test_a_large_batch_becomes_several_bodies() -> None:
    with http_peer(lambda asked: Said()) as peer:
        readings = [Reading("d", NOW + n, {"t": "x" * 1_000}) for n in range(100)]
        await send(bridge(peer.url, max_body="10kB"), Batch(1, 101, readings))
        assert all(len(asked.body) <= 10_000 for asked in peer.asked)
        assert b"\n".join(asked.body for asked in peer.asked).count(b"\n") == 99
        assert 11 <= len(peer.asked) <= 13


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_body_that_is_too_large_is_halved_and_the_limit_remembered(version: str) -> None:
    limit = 30_000

    def answer(asked: Asked) -> Said:
        return (
            Said(413, b'{"error":"Request Entity Too Large"}')
            if len(asked.body) > limit
            else Said()
        )

    with http_peer(answer) as peer:
        sink = bridge(peer.url) if version == "2" else old(peer.url)
        readings = [Reading("d", NOW + n, {"t": "x" * 1_000}) for n in range(100)]
        await send(sink, Batch(1, 101, readings))
        first = len(peer.asked)
        taken = [asked.body for asked in peer.asked if len(asked.body) <= limit]
        assert b"\n".join(taken).count(b"\n") == 99
        assert first <= 8
        await send(sink, Batch(1, 101, readings))
        assert max(len(asked.body) for asked in peer.asked[first:]) <= limit


async def test_one_reading_that_is_too_large_is_refused_alone() -> None:
    def answer(asked: Asked) -> Said:
        return Said(413, b"no") if len(asked.body) > 40_000 else Said()

    with http_peer(answer) as peer:
        readings = [Reading("d", NOW + n, {"t": "x" * 100}) for n in range(100)]
        readings[37].values = {"t": "x" * 50_000}
        with pytest.raises(Rejected, match="too large") as refused:
            await send(bridge(peer.url), Batch(1, 101, readings))
        assert refused.value.indices == [37]
        taken = [asked.body for asked in peer.asked if len(asked.body) <= 40_000]
        assert b"\n".join(taken).count(b"\n") + 1 == 99


@pytest.mark.timeout(60)
async def test_the_real_servers_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFLUXDB_HTTP_MAX_BODY_SIZE", "20000")
    chance = random.Random(1)
    with influx_1(tmp_path) as server:
        readings = [
            Reading("d", NOW + n, {"t": "".join(chance.choices(string.ascii_letters, k=1_000))})
            for n in range(100)
        ]
        await send(old(server.url), Batch(1, 101, readings))
        assert len(server.values("d", "t")) == 100
