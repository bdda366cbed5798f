"""The payloads that cost a codec most, as large as the gateway takes them by default."""

import json
import time
from typing import Any

import cbor2
import msgspec
import pytest

from gateway.core.contracts import Context
from tests.codecs.cases import LABELS, Case, sparkplug
from tests.codecs.test_contract import LONGEST, tried

LARGEST: int = Context.__dataclass_fields__["payload"].default
PACE = 0.004
"""What `pace` takes where the limits were set (s)."""
MESSAGEPACK = msgspec.msgpack.encode
REPORTS = [{"a": 1, "b": 2, "c": 3, "d": 4}] * 10_000
LISTS: Any = [[1] * 20] * 2_380
NULLS: Any = [[[[None]] * 9] * 1_000] * 2
SHARED = bytes.fromhex("d81c" + "8a80" + "d81d00" * 9) * 3_000
COLLIDING = b"\xb9\x09\xc3" + b"".join(
    b"\xc2\x4a" + (n * (2**61 - 1)).to_bytes(10, "big") + b"\0" for n in range(1, 2_500)
)
# All lists of -1 and -2 of one length have one hash.
COLLIDING_LISTS = (
    b"\xdf"
    + (16_000).to_bytes(4, "big")
    + b"".join(
        b"\x9e" + bytes(0xFF - (n >> bit & 1) for bit in range(14)) + b"\0" for n in range(16_000)
    )
)
RECORDS = [{"bn": "a", "v": 1}, *[{"v": 1, "t": 1}] * 9_999]
BINARY = {"format": "<" + "b" * 5, "names": list("abcde"), "repeat": True}
SPARKPLUG = [{"name": f"m/{n % 900}", "float_value": 1, "timestamp": 1 + n // 900}
             for n in range(5_000)]  # fmt: skip
WORST = {
    "json reports": (Case("json", {}, []), json.dumps(REPORTS, separators=(",", ":")).encode()),
    "json lists": (Case("json", {}, []), json.dumps(LISTS, separators=(",", ":")).encode()),
    "json nulls": (Case("json", {}, []), json.dumps(NULLS, separators=(",", ":")).encode()),
    "json depth": (Case("json", {}, []), b"[" * LARGEST),
    "cbor reports": (Case("cbor", {}, []), cbor2.dumps(REPORTS)),
    "cbor lists": (Case("cbor", {}, []), cbor2.dumps(LISTS)),
    "cbor nulls": (Case("cbor", {}, []), b"\x9f" + b"\xf6" * (LARGEST - 2) + b"\xff"),
    "cbor shared": (Case("cbor", {}, []), b"\x9f" + SHARED + b"\xff"),
    "cbor colliding keys": (Case("cbor", {}, []), COLLIDING),
    "cbor large number": (Case("cbor", {}, []), b"\xc2\x5a\x00\x03\xe0\x00" + b"\xff" * 253_952),
    "cbor depth": (Case("cbor", {}, []), b"\x81" * LARGEST),
    "msgpack reports": (Case("msgpack", {}, []), MESSAGEPACK(REPORTS)),
    "msgpack lists": (Case("msgpack", {}, []), MESSAGEPACK(LISTS)),
    "msgpack nulls": (Case("msgpack", {}, []), MESSAGEPACK(NULLS)),
    "msgpack colliding keys": (Case("msgpack", {}, []), COLLIDING_LISTS),
    "msgpack colliding keys inside": (
        Case("msgpack", {}, []), b"\x91" * 10 + b"\x81\xa1a" + COLLIDING_LISTS[:250_000],
    ),
    "msgpack colliding keys, few": (
        Case("msgpack", {}, []), b"\xde\x01\xf4" + COLLIDING_LISTS[5 : 5 + 500 * 16],
    ),
    "msgpack many that may be maps": (
        Case("msgpack", {}, []), b"\xdd\x00\x03\xe0\x00" + b"\xc3" * 250_000 + b"\xcc\xde",
    ),
    "text runaway": (Case("text", {"pattern": "(?P<a>(x+x+)+)y"}, []), b"x" * 16_384),
    "text runaway in lines": (
        Case("text", {"pattern": "(?P<a>(x+x+)+)y", "lines": True}, []), (b"x" * 400 + b"\n") * 40,
    ),
    "text polynomial": (Case("text", {"pattern": "(?P<a>.*).*.*.*=.*y"}, []), b"=" * 16_384),
    "text lines": (Case("text", {"pattern": "(?P<a>x+)", "lines": True}, []), b"xxxx\n" * 1_000),
    "csv cells": (Case("csv", {}, []), b"a,b,c,d\n" + b"1,2,3,4\n" * 10_000),
    "csv wide": (
        Case("csv", {}, []), ",".join(map(str, range(1_000))).encode() + b"\n" + b"," * LARGEST,
    ),
    "csv empty lines": (Case("csv", {}, []), b"a,b\n" + b"\n" * 19_999 + b"1,2\n"),
    "csv one quote": (Case("csv", {}, []), b'a\n"' + b"1,2\n" * 20_000),
    "senml records": (Case("senml", {}, []), json.dumps(RECORDS, separators=(",", ":")).encode()),
    "senml cbor": (
        Case("senml", {}, []),
        cbor2.dumps([{LABELS[k]: v for k, v in row.items()} for row in RECORDS[:5_000]]),
    ),
    "line lines": (Case("line", {}, []), b"a b=1,c=2,d=3,e=4\n" * 5_000),
    "line fields": (
        Case("line", {}, []), b"a " + b",".join(b"f%d=1" % n for n in range(999)) + b"\n",
    ),
    "line comments": (Case("line", {}, []), b"#\n" * 10_000),
    "line long texts": (Case("line", {}, []), b'a b="' + (b" " * 60 + b'",c="\n') * 999),
    "struct": (Case("struct", BINARY, []), bytes(50_000)),
    "sparkplug metrics": (Case("sparkplug", {}, [], "spBv1.0/G/NBIRTH/E"),
                          sparkplug(0, *SPARKPLUG)),
    "sparkplug empty metrics": (Case("sparkplug", {}, [], "spBv1.0/G/NDATA/E"),
                                b"\x12\x00" * (LARGEST // 2)),
}  # fmt: skip


def pace() -> float:
    """How long this machine takes for something (s of CPU): a slower one is given its time."""
    began = time.thread_time()
    found: dict[str, float] = {}
    for number in range(20_000):
        found[f"a.{number % 500}"] = float(number)
    return time.thread_time() - began


@pytest.mark.alone
@pytest.mark.parametrize("name", WORST)
def test_the_worst_is_bounded(name: str) -> None:
    case, payload = WORST[name]
    took = min(tried(case, payload) for _ in range(3))
    print(f"{name}: {len(payload)} bytes, {took * 1000:.1f} ms")
    assert took < LONGEST * max(1.0, min(pace() for _ in range(3)) / PACE)
