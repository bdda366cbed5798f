"""CBOR and MessagePack: what JSON can say they take as JSON does; and what only they can say."""

import json
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.cbor import MAX_ODD, CborSettings
from gateway.codecs.json import JsonSettings
from gateway.codecs.msgpack import MsgpackSettings
from gateway.core.errors import DecodeError

NOW = 1_763_680_000_000_000_000
CODECS: dict[str, Any] = {"cbor": CborSettings().build(), "msgpack": MsgpackSettings().build()}
ENCODE: dict[str, Any] = {"cbor": cbor2.dumps, "msgpack": msgspec.msgpack.encode}
MOMENT = datetime(2023, 11, 14, 22, 13, 20, 250_000, tzinfo=UTC)
both = pytest.mark.parametrize("name", CODECS)

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=10),
)  # fmt: skip
keys = st.text(max_size=6) | st.sampled_from(("time", "ts", "timestamp"))
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


def outcome(codec: Any, payload: bytes) -> Any:
    """What comes of it, in order."""
    try:
        found = codec.decode("d", payload, NOW)
        return [(time, [(k, type(v), v) for k, v in values.items()]) for time, values in found]
    except DecodeError as error:
        return error.reason


@both
@given(trees)
def test_as_json(name: str, tree: Any) -> None:
    expected = outcome(JsonSettings().build(), json.dumps(tree).encode())
    assert outcome(CODECS[name], ENCODE[name](tree)) == expected


@both
@pytest.mark.parametrize(
    ("tree", "reports"),
    [
        ({1: 21, -2: 3}, [(None, {"1": 21.0, "-2": 3.0})]),
        ({"a": {1: {2: 3}}}, [(None, {"a.1.2": 3.0})]),
        ({"time": MOMENT, "a": 1}, [(1_700_000_000_250_000_000, {"a": 1.0})]),
        ({"at": MOMENT}, [(None, {"at": "2023-11-14T22:13:20.250000+00:00"})]),
        ({"id": b"\x01\xff", "a": 1}, [(None, {"id": "01ff", "a": 1.0})]),
        ({"a": float("nan"), "b": 1}, [(None, {"b": 1.0})]),
        ({"time": 1_700_000_000.25, "a": 1}, [(1_700_000_000_250_000_000, {"a": 1.0})]),
    ],
)
def test_what_json_has_not(name: str, tree: Any, reports: list[Any]) -> None:
    assert list(CODECS[name].decode("d", ENCODE[name](tree), NOW)) == reports


@both
@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        ({"a": float("inf")}, "malformed"), ({None: 1}, "metric"), ({1.5: 1}, "metric"),
        ({b"a": 1}, "metric"), ({"a": float("nan")}, "empty"),
        ({"time": float("nan"), "a": 1}, "time"),
        ({"a": b"\0" * 600}, "metric"), ([{"a": 1}, []], "empty"), ([], "empty"),
        ({"a": 1, "time": True}, "time"), ([[1] * 1_001], "too_many"), ([1] * 10_001, "too_many"),
        ([[None] * 1_000] * 51, "empty"), ([[1], *[[1, [None] * 1_000]] * 51], "too_many"),
    ],
)  # fmt: skip
def test_bad(name: str, tree: Any, reason: str) -> None:
    assert outcome(CODECS[name], ENCODE[name](tree)) == reason


# RFC 8949, appendix A, as far as an example can be a value.
@pytest.mark.parametrize(
    ("payload", "value"),
    [
        ("00", 0.0), ("17", 23.0), ("1818", 24.0), ("1903e8", 1000.0), ("1a000f4240", 1e6),
        ("1bffffffffffffffff", 18446744073709551615.0),
        ("c249010000000000000000", 18446744073709551616.0),
        ("3bffffffffffffffff", -18446744073709551616.0),
        ("c349010000000000000000", -18446744073709551617.0),
        ("20", -1.0), ("3863", -100.0), ("f90000", 0.0), ("f93e00", 1.5), ("f97bff", 65504.0),
        ("fa47c35000", 100000.0), ("fb7e37e43c8800759c", 1.0e300), ("fbc010666666666666", -4.1),
        ("f4", False), ("f5", True), ("6449455446", "IETF"), ("62c3bc", "ü"),
        ("4401020304", "01020304"),
        ("7f657374726561646d696e67ff", "streaming"), ("c48221196ab3", 273.15),
        ("c5822003", 1.5),
        ("c074323031332d30332d32315432303a30343a30305a", "2013-03-21T20:04:00+00:00"),
        ("c11a514b67b0", "2013-03-21T20:04:00+00:00"), ("d9d9f717", 23.0), ("dabeefcafe05", 5.0),
        ("d82550" + "00112233445566778899aabbccddeeff", "00112233-4455-6677-8899-aabbccddeeff"),
        ("d903ec6a323031332d30332d3231", "2013-03-21"),
    ],
)  # fmt: skip
def test_values_of_rfc_8949(payload: str, value: Any) -> None:
    assert CODECS["cbor"].decode("d", bytes.fromhex(payload), NOW) == [(None, {"value": value})]


@pytest.mark.parametrize(
    "payload",
    [
        "", "ff", "1c", "a1", "0000", "61ff", "d81c81d81d00", "d901008163616161", "d823615b",
        "d824614d", "d9010281" + "01", "d81e820102", "c482f500", "c4820101" + "00", "c4820a1b7fff",
        "c4821b7fffffffffffffff01", "c5821b7fffffffffffffff01", "c2590101" + "ff" * 257,
        "c074" + "61" * 20, "a1c2410100", "a1d9abcd0100", "81" * 200 + "00", "f0", "f8ff", "5f4101",
        "c1fb7ff0000000000000",
    ],
)  # fmt: skip
def test_cbor_that_is_none_or_dangerous(payload: str) -> None:
    assert outcome(CODECS["cbor"], bytes.fromhex(payload)) in ("malformed", "metric")


def test_undefined_is_as_null() -> None:
    tree = {"a": cbor2.undefined, "b": [cbor2.undefined, 1], "time": cbor2.undefined}
    assert CODECS["cbor"].decode("d", cbor2.dumps(tree), NOW) == [(None, {"b.1": 1.0})]


def test_keys_that_are_no_text_are_for_small_payloads() -> None:
    small, large = ({1: 1, "a": ["x" * 1_000] * count} for count in (10, MAX_ODD // 1_000 + 1))
    assert outcome(CODECS["cbor"], cbor2.dumps(small))[0][1][0] == ("1", float, 1.0)
    assert outcome(CODECS["cbor"], cbor2.dumps(large)) == "malformed"


@pytest.mark.parametrize(
    "payload", ["", "c1", "0000", "dd7fffffff00", "91" * 100_000, "d40301", "d7ff" + "ff" * 8, "81"]
)
def test_messagepack_that_is_none(payload: str) -> None:
    expected = ("malformed", "too_deep", "metric")
    assert outcome(CODECS["msgpack"], bytes.fromhex(payload)) in expected


def test_a_date_and_an_id() -> None:
    tree = {"day": date(2013, 3, 21), "id": UUID(int=1)}
    assert CODECS["cbor"].decode("d", cbor2.dumps(tree), NOW) == [
        (None, {"day": "2013-03-21", "id": str(UUID(int=1))})
    ]
