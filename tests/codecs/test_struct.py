"""Binary frames with a fixed layout."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.struct import StructCodec, StructSettings
from gateway.config import InvalidConfig, loads
from gateway.core.errors import DecodeError

NOW = 1_763_680_000_000_000_000


def codec(**options: Any) -> StructCodec:
    return StructSettings.model_validate({"type": "struct", **options}).build()


def field(name: str, kind: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **options}


T = [field("t", "int16")]


@pytest.mark.parametrize(
    ("options", "payload", "reports"),
    [
        # RuuviTag, data format 5: https://docs.ruuvi.com, its valid test vector.
        ({"header": 1, "size": 23, "fields": [
            field("temperature", "int16", scale=0.005), field("humidity", "uint16", scale=0.0025),
            field("pressure", "uint16", add=50_000), field("x", "int16"), field("y", "int16"),
            field("z", "int16"), field("moves", "uint8", offset=14), field("number", "uint16")]},
         "0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F",
         [(None, {"temperature": 24.3, "humidity": 53.49, "pressure": 100_044.0, "x": 4.0,
                  "y": -4.0, "z": 1036.0, "moves": 66.0, "number": 205.0})]),
        ({"fields": [field("a", "uint8"), field("b", "int32", byte_order="little")]}, "01ffffffff",
         [(None, {"a": 1.0, "b": -1.0})]),
        ({"fields": [field("on", "uint8", bit=0), field("low", "uint8", bit=7, offset=0)]}, "80",
         [(None, {"on": False, "low": True})]),
        ({"fields": [field("on", "bool"), field("id", "text", length=4)]}, "0161620000",
         [(None, {"on": True, "id": "ab"})]),
        ({"fields": [field("time", "uint32"), *T], "repeat": True}, "6553f1000001" "6553f1010002",
         [(1_700_000_000 * 10**9, {"t": 1.0}), (1_700_000_001 * 10**9, {"t": 2.0})]),
        ({"format": "<hBf", "names": ["t", "", "v"]}, "0100ff0000c03f",
         [(None, {"t": 1.0, "v": 1.5})]),
        ({"format": ">2xh", "names": ["t"]}, "ffff0001", [(None, {"t": 1.0})]),
        ({"fields": [field("a", "float32"), field("b", "float16")]}, "7fc000003e00",
         [(None, {"b": 1.5})]),
        ({"fields": [field("a", "uint64")]}, "ffffffffffffffff", [(None, {"a": 2.0**64})]),
    ],
)  # fmt: skip
def test_good(options: dict[str, Any], payload: str, reports: list[Any]) -> None:
    found = list(codec(**options).decode("d", bytes.fromhex(payload), NOW))
    assert [time for time, _ in found] == [time for time, _ in reports]
    for (_, values), (_, expected) in zip(found, reports, strict=True):
        assert values == pytest.approx(expected)
        assert list(map(type, values.values())) == list(map(type, expected.values()))


@pytest.mark.parametrize(
    ("options", "payload", "reason"),
    [
        ({"fields": T}, "", "length"), ({"fields": T}, "01", "length"),
        ({"fields": T}, "00" * 4, "length"),
        ({"fields": T, "repeat": True}, "00" * 5, "length"),
        ({"fields": T, "header": 3}, "0000", "length"),
        ({"fields": T, "repeat": True}, "00" * 20_002, "too_many"),
        ({"fields": [field("a", "float32")]}, "7f800000", "malformed"),
        ({"fields": [field("a", "float32")]}, "7fc00000", "empty"),
        ({"fields": [field("a", "text", length=1)]}, "ff", "malformed"),
        ({"fields": [field("time", "int32"), *T]}, "ffffffff0001", "time"),
    ],
)  # fmt: skip
def test_bad(options: dict[str, Any], payload: str, reason: str) -> None:
    with pytest.raises(DecodeError) as refused:
        codec(**options).decode("d", bytes.fromhex(payload), NOW)
    assert refused.value.reason == reason


def test_units() -> None:
    one = codec(fields=[field("t", "int16", unit="Cel"), field("n", "uint8")])
    assert one.units("anyone") == {"t": "Cel"}


CODES = {"int8": "b", "uint16": "H", "int32": "i", "int64": "q", "float64": "d"}


@given(st.lists(st.sampled_from(sorted(CODES)), min_size=1, max_size=6), st.booleans(), st.data())
def test_fields_and_format_say_the_same(kinds: list[str], big: bool, data: st.DataObject) -> None:
    names = [f"m{number}" for number in range(len(kinds))]
    form = ("<", ">")[big] + "".join(CODES[kind] for kind in kinds)
    size = struct.calcsize(form)
    payload = data.draw(st.binary(min_size=2 * size, max_size=2 * size))
    by_fields = codec(
        fields=[field(name, kind) for name, kind in zip(names, kinds, strict=True)],
        byte_order=("little", "big")[big], repeat=True,
    )  # fmt: skip
    by_format = codec(format=form, names=names, repeat=True)

    def outcome(one: StructCodec) -> Any:
        try:
            return one.decode("d", payload, NOW)
        except DecodeError as error:
            return error.reason

    assert outcome(by_fields) == outcome(by_format)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("byte_order: big", "either fields: or format:"), ("format: '<h'", "go together"),
        ("format: '<h', names: [a, b]", "2 names for 1 values"),
        ("format: 'h', names: [a]", "format"),
        ("format: '<9999q9999q', names: [a]", "more than 65536 bytes"),
        ("fields: [{name: a, type: int9}]", "type"), ("fields: [{name: a, type: text}]", "length"),
        ("fields: [{name: a, type: int8, bit: 8}]", "no bit 8"),
        ("fields: [{name: a, type: float32, bit: 1}]", "has no bits"),
        ("fields: [{name: a, type: bool, scale: 2}]", "only numbers have a scale"),
        ("fields: [{name: a, type: int8, scale: 0}]", "not a scale"),
        ("fields: [{name: a, type: int8}, {name: a, type: int8}]", "two fields have one name"),
        ("fields: [{name: time, type: int8}]", "no field for a metric"),
        ("fields: [{name: a, type: int16}], size: 1", "take 2 bytes"),
        ("fields: [{name: a, type: int16, ofset: 1}]", 'unknown key "ofset"'),
        ("fields: [{name: '', type: int16}]", "no field for a metric"),
    ],
)  # fmt: skip
def test_bad_options_are_told(options: str, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message) as error:
        loads(f"devices:\n- type: mqtt\n  codec: {{type: struct, {options}}}\n")
    assert {problem.line for problem in error.value.problems} == {3}
