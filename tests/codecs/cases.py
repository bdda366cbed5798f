"""Each codec with settings and payloads that are good, for the tests that all of them must pass."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cbor2
import msgspec

from gateway import registry
from gateway.codecs.sparkplug_payload import Payload
from gateway.core.contracts import Addressed, Codec

NOW = 1_763_680_000_000_000_000
TREES: list[Any] = [
    {"t": 21, "ok": True, "mode": "eco", "none": None},
    {"a": {"b": 1, "c": [2.5, {"d": -3}]}, "ts": 1_700_000_000_123},
    [{"a": 1, "time": "2023-11-14T22:13:20Z"}, {"a": 2}],
    21.5, "on", [1, [2, 3]],
]  # fmt: skip
PACK = [
    {"bn": "urn:dev:ow:10e2073a0108006:", "bt": 1.276020076001e09, "bu": "A", "bver": 5,
     "n": "voltage", "u": "V", "v": 120.1},
    {"n": "current", "t": -5, "v": 1.2, "s": 4}, {"n": "label", "vs": "Machine Room"},
    {"n": "open", "vb": False}, {"n": "nfc-reader", "vd": "aGkgCg"},
]  # fmt: skip
LABELS = {
    "bver": -1, "bn": -2, "bt": -3, "bu": -4, "bv": -5, "bs": -6,
    "n": 0, "u": 1, "v": 2, "vs": 3, "vb": 4, "s": 5, "t": 6, "ut": 7, "vd": 8,
}  # fmt: skip


def labelled(pack: list[dict[str, Any]]) -> bytes:
    """A SenML pack as CBOR has it."""
    return cbor2.dumps([{LABELS[key]: value for key, value in row.items()} for row in pack])


def sparkplug(seq: int | None, *metrics: dict[str, Any], at: int = 1_700_000_000_000) -> bytes:
    """A Sparkplug B payload."""
    payload = Payload(timestamp=at)
    if seq is not None:
        payload.seq = seq
    for metric in metrics:
        unit = metric.pop("unit", None)
        added = payload.metrics.add(**metric)
        if unit is not None:
            added.properties.keys.append("engUnit")
            added.properties.values.add(string_value=unit)
    return bytes(payload.SerializeToString())


@dataclass(frozen=True)
class Case:
    """A codec, how it is set, and payloads it takes. topic: where they came from."""

    type: str
    settings: dict[str, Any]
    payloads: list[bytes]
    topic: str = "devices/d/telemetry"

    def build(self) -> Codec:
        """The codec."""
        model = registry.resolve(registry.CODECS, self.type)
        codec: Codec = model.model_validate({"type": self.type, **self.settings}).build()
        return codec

    def reports(self, codec: Codec, payload: bytes) -> list[tuple[int | None, dict[str, Any]]]:
        """What is in a payload."""
        found: Iterable[Any] = (
            codec.addressed(self.topic, "d", payload, NOW)
            if isinstance(codec, Addressed)
            else codec.decode("d", payload, NOW)
        )
        return [tuple(report[-2:]) for report in found]

    def __str__(self) -> str:
        return "-".join((self.type, *map(str, self.settings)))


FRAME = [
    {"name": "temperature", "type": "int16", "scale": 0.01, "unit": "Cel"},
    {"name": "humidity", "type": "uint8"},
    {"name": "open", "type": "uint8", "bit": 0},
    {"name": "low", "type": "uint8", "bit": 7, "offset": 3},
    {"name": "level", "type": "float32"},
    {"name": "label", "type": "text", "length": 4},
]
CASES = [
    Case("json", {}, [json.dumps(tree).encode() for tree in TREES]),
    Case("cbor", {}, [cbor2.dumps(tree) for tree in TREES]),
    Case("msgpack", {}, [msgspec.msgpack.encode(tree) for tree in TREES]),
    Case("text", {"pattern": r"W:(?P<weight>[\d.]+)"}, [b"ST,GS,W:12.5kg\r\n"]),
    Case(
        "text", {"pattern": r"(?P<time>\d+) (?P<a>(\w+\s?)*)$", "lines": True},
        [b"1700000000 on\n\n1700000001 off off\n"],
    ),
    Case("csv", {}, [b"time,a,b\n1700000000,1.5,on\n2023-11-14T22:13:20Z,,off\n"]),
    Case(
        "csv", {"columns": ["a", "", "when"], "delimiter": ";", "decimal": ",", "time": "when"},
        [b"1,5;x;1700000000\r\n-2;;\r\n"],
    ),
    Case("senml", {}, [json.dumps(PACK).encode(), labelled(PACK[:-1])]),
    Case("senml", {"names": "own"}, [json.dumps(PACK).encode(), labelled(PACK[:-1])]),
    Case(
        "line", {},
        [b'cpu,host=a,cpu=cpu0 idle=98.5,n=1i,s="x y" 1700000000000000000\n# no\ncpu idle=1\n'],
    ),
    Case(
        "line", {"metric": "{field}", "device": "{host}", "precision": "s"},
        [b"cpu,host=a idle=98.5 1700000000"],
    ),
    Case("struct", {"fields": FRAME}, [bytes.fromhex("08fc378141480000") + b"ab\0\0"]),
    Case(
        "struct", {"format": "<Ihf", "names": ["time", "a", "b"], "repeat": True, "header": 1},
        [b"\1" + bytes.fromhex("00f153650a0000002041") * 3],
    ),
    Case(
        "nmea", {},
        [b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n$SDDBT,7.8,f,2.4,M,1.3,F*0D\r\n"],
    ),
    Case(
        "sparkplug", {},
        [
            sparkplug(
                0, {"name": "bdSeq", "datatype": 8, "long_value": 3},
                {"name": "Inputs/A", "alias": 1, "datatype": 3, "int_value": 2**32 - 5},
                {"name": "label", "alias": 2, "datatype": 12, "string_value": "ab", "unit": "kg"},
            ),
        ],
        "spBv1.0/G/NBIRTH/E",
    ),
    Case(
        "sparkplug", {},
        [sparkplug(1, {"name": "a", "datatype": 9, "float_value": 1.5, "timestamp": 5})],
        "spBv1.0/G/DDATA/E/D",
    ),
]  # fmt: skip
