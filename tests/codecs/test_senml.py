"""SenML, by the examples of RFC 8428 (sections 5 and 6)."""

import json
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.reports import MAX_REPORTS
from gateway.codecs.senml import SenmlCodec, SenmlSettings
from gateway.config import InvalidConfig, loads
from gateway.core.errors import DecodeError
from tests.codecs.cases import labelled

NOW = 1_763_680_000_000_000_000
SECOND = 10**9
DEVICE = "urn:dev:ow:10e2073a0108006:"
CURRENTS: list[dict[str, Any]] = [
    {"bn": DEVICE, "bt": 1.276020076001e09, "bu": "A", "bver": 5, "n": "voltage", "u": "V",
     "v": 120.1},
    {"n": "current", "t": -5, "v": 1.2}, {"n": "current", "t": -4, "v": 1.3},
    {"n": "current", "t": -3, "v": 1.4}, {"n": "current", "t": -2, "v": 1.5},
    {"n": "current", "t": -1, "v": 1.6}, {"n": "current", "v": 1.7},
]  # fmt: skip
BASE = 1_276_020_076_001_000_000
CURRENTS_READ = [
    (BASE, {f"{DEVICE}voltage": 120.1, f"{DEVICE}current": 1.7}),
    *[(BASE - back * SECOND, {f"{DEVICE}current": value})
      for back, value in ((5, 1.2), (4, 1.3), (3, 1.4), (2, 1.5), (1, 1.6))],
]  # fmt: skip
ROOM = "urn:dev:ow:10e2073a01080063"


def codec(**options: Any) -> SenmlCodec:
    return SenmlSettings(**options).build()


def decoded(pack: Any, **options: Any) -> list[Any]:
    return list(codec(**options).decode("d", json.dumps(pack).encode(), NOW))


@pytest.mark.parametrize(
    ("pack", "readings"),
    [
        # 5.1.1 single data point, 5.1.2 multiple data points
        ([{"n": ROOM, "u": "Cel", "v": 23.1}], [(None, {ROOM: 23.1})]),
        ([{"bn": f"{ROOM}:", "n": "voltage", "u": "V", "v": 120.1},
          {"n": "current", "u": "A", "v": 1.2}],
         [(None, {f"{ROOM}:voltage": 120.1, f"{ROOM}:current": 1.2})]),
        (CURRENTS, CURRENTS_READ),
        # 5.1.3 multiple measurements: one name in three units
        ([{"bn": ROOM, "bt": 1.320067464e9, "bu": "%RH", "v": 20},
          {"u": "lon", "v": 24.30621}, {"u": "lat", "v": 60.07965},
          {"t": 60, "v": 20.3}, {"u": "lon", "t": 60, "v": 24.30622},
          {"u": "lat", "t": 60, "v": 60.07965}],
         [(1_320_067_464 * SECOND, {ROOM: 20.0, f"{ROOM}.lon": 24.30621, f"{ROOM}.lat": 60.07965}),
          (1_320_067_524 * SECOND, {ROOM: 20.3, f"{ROOM}.lon": 24.30622,
                                    f"{ROOM}.lat": 60.07965})]),
        # 5.1.5 multiple data types
        ([{"bn": f"{ROOM}:", "n": "temp", "u": "Cel", "v": 23.1},
          {"n": "label", "vs": "Machine Room"}, {"n": "open", "vb": False},
          {"n": "nfc-reader", "vd": "aGkgCg"}],
         [(None, {f"{ROOM}:temp": 23.1, f"{ROOM}:label": "Machine Room", f"{ROOM}:open": False,
                  f"{ROOM}:nfc-reader": "aGkgCg"})]),
        # 5.1.6 collection of resources
        ([{"bn": "2001:db8::2/", "bt": 1.320078429e9, "n": "temperature", "u": "Cel", "v": 25.2},
          {"n": "humidity", "u": "%RH", "v": 30},
          {"bn": "2001:db8::1/", "n": "temperature", "u": "Cel", "v": 12.3},
          {"n": "humidity", "u": "%RH", "v": 67}],
         [(1_320_078_429 * SECOND, {
             "2001:db8::2/temperature": 25.2, "2001:db8::2/humidity": 30.0,
             "2001:db8::1/temperature": 12.3, "2001:db8::1/humidity": 67.0})]),
        # base values and sums; a base alone counts as it is
        ([{"bn": "a", "bv": 20, "v": 1.5, "bs": 100, "s": 2}, {"n": "b"}],
         [(None, {"a": 21.5, "a.sum": 102.0, "ab": 20.0, "ab.sum": 100.0})]),
        ([{"bn": "a"}, {"bt": 1_700_000_000, "n": "b", "s": 3}],
         [(1_700_000_000 * SECOND, {"ab.sum": 3.0})]),
        ([{"n": "a", "vs": "x", "bv": 3}], [(None, {"a": "x"})]),
        # relative to now; and twice at one time
        ([{"n": "a", "t": -60, "v": 1}, {"n": "a", "t": 5.5, "v": 2}, {"n": "a", "v": 3}],
         [(NOW - 60 * SECOND, {"a": 1.0}), (NOW + 5_500_000_000, {"a": 2.0}), (None, {"a": 3.0})]),
        ([{"n": "a", "v": 1}, {"n": "a", "v": 2}], [(None, {"a": 1.0}), (None, {"a": 2.0})]),
        ([{"n": "a", "t": 2**28, "v": 1}], [(2**28 * SECOND, {"a": 1.0})]),
        ([{"n": "a", "t": 2**28 - 1, "v": 1}], [(NOW + (2**28 - 1) * SECOND, {"a": 1.0})]),
        ([{"n": "a", "v": 1, "ut": 30, "x": {"y": 1}}], [(None, {"a": 1.0})]),
        ([{"n": "a", "u": "W", "v": 1}, {"n": "a", "t": -1, "v": 2}],
         [(None, {"a": 1.0}), (NOW - SECOND, {"a.none": 2.0})]),
    ],
)  # fmt: skip
def test_packs(pack: Any, readings: list[Any]) -> None:
    assert decoded(pack) == readings
    assert list(codec().decode("d", labelled_as_it_can_be(pack), NOW)) == readings


def labelled_as_it_can_be(pack: list[dict[str, Any]]) -> bytes:
    """As CBOR, with data as bytes and what has no label left out."""
    rows = [{key: value for key, value in row.items() if key != "x"} for row in pack]
    for row in rows:
        if row.get("vd") == "aGkgCg":
            row["vd"] = b"hi \n"
    return labelled(rows)


def test_cbor_as_the_rfc_has_it() -> None:
    # Section 6: the same pack as above, as it is dumped there.
    payload = bytes.fromhex(
        "87a721781b75726e3a6465763a6f773a3130653230373361303130383030363a22fb41d303a15b00106223614120"
        "050067766f6c7461676501615602fb405e066666666666a3006763757272656e74062402fb3ff3333333333333"
        "a3006763757272656e74062302fb3ff4cccccccccccda3006763757272656e74062202fb3ff6666666666666"
        "a3006763757272656e74062102f93e00a3006763757272656e74062002fb3ff999999999999aa3006763757272"
        "656e74060002fb3ffb333333333333"
    )
    assert list(codec().decode("d", payload, NOW)) == CURRENTS_READ


def test_names_of_the_records_alone() -> None:
    assert decoded(CURRENTS[:1], names="own") == [(BASE, {"voltage": 120.1})]
    assert decoded([{"bn": "a", "v": 1}], names="own") == [(None, {"value": 1.0})]
    pack = [{"bn": "a", "n": "x", "v": 1}, {"bn": "b", "n": "x", "v": 2}]
    with pytest.raises(DecodeError, match="second base name") as refused:
        decoded(pack, names="own")
    assert refused.value.fix == "use names: resolved"


def test_units_are_kept_by_device() -> None:
    one = codec()
    one.decode("d", json.dumps(CURRENTS).encode(), NOW)
    one.decode("e", json.dumps([{"n": "a", "u": "W", "v": 1}]).encode(), NOW)
    assert one.units("d") == {f"{DEVICE}voltage": "V", f"{DEVICE}current": "A"}
    assert one.units("e") == {"a": "W"}
    assert one.units("f") == {}


def test_units_without_end_cost_bounded_memory() -> None:
    one = codec()
    for device in range(60):
        pack = [{"n": f"m{n}", "u": "W", "v": 1} for n in range(1_000)]
        one.decode(f"d{device}", json.dumps(pack).encode(), NOW)
    assert sum(len(one.units(f"d{device}")) for device in range(60)) == 50_000


@pytest.mark.parametrize(
    ("pack", "reason"),
    [
        ({}, "malformed"), ([], "empty"), ([{"bn": "a"}], "empty"), ([1], "record"),
        ([{"n": "a"}], "record"), ([{"v": 1}], "metric"), ([{"n": "-a", "v": 1}], "metric"),
        ([{"n": "a b", "v": 1}], "metric"), ([{"n": "a" * 200, "v": 1}], "metric"),
        ([{"n": "a", "v": "1"}], "record"), ([{"n": "a", "v": True}], "record"),
        ([{"n": "a", "v": None}], "record"), ([{"n": "a", "vb": 1}], "record"),
        ([{"n": "a", "v": 1, "vs": "x"}], "record"), ([{"n": 1, "v": 1}], "record"),
        ([{"bver": 11, "n": "a", "v": 1}], "version"), ([{"n": "a", "v": 1, "x_": 1}], "version"),
        ([{"n": "a", "v": 1, "t": 1e12}], "time"), ([{"n": "a", "v": 1, "t": 9.9e9}], "time"),
        ([{"n": "a", "v": 1}] * (MAX_REPORTS + 1), "too_many"),
        ([{"n": "a", "vs": "x" * 2_000}], "metric"),
        ([{"n": "a", "bv": 1e308, "v": 1e308}], "malformed"),
    ],
)  # fmt: skip
def test_bad(pack: Any, reason: str) -> None:
    with pytest.raises(DecodeError) as refused:
        decoded(pack)
    assert refused.value.reason == reason


def test_labels_of_cbor_that_are_none() -> None:
    for rows in ([{b"n": "a", 2: 1}], [{0: "a", 2: 1, "x_": 1}], [{0: "a", 2: float("nan")}]):
        with pytest.raises(DecodeError):
            codec().decode("d", cbor2.dumps(rows), NOW)
    assert codec().decode("d", cbor2.dumps([{0: "a", 2: 1, 99: 1}]), NOW) == [(None, {"a": 1.0})]


numbers = st.integers(-1_000, 1_000).map(lambda number: number / 8)


@given(st.lists(st.tuples(st.integers(-100, 100), numbers), min_size=1, max_size=8),
       st.integers(2**29, 2**30), numbers)  # fmt: skip
def test_bases_change_nothing(points: list[tuple[int, float]], base: int, value: float) -> None:
    resolved = [{"n": "dev:x", "t": base + t, "v": value + v} for t, v in points]
    relative = [{"n": "x", "t": t, "v": v} for t, v in points]
    relative[0] |= {"bn": "dev:", "bt": base, "bv": value}
    assert decoded(relative) == decoded(resolved)


def test_bad_options_are_told() -> None:
    with pytest.raises(InvalidConfig, match="names") as error:
        loads("devices:\n- type: mqtt\n  codec: {type: senml, names: short}\n")
    assert [problem.line for problem in error.value.problems] == [3]
