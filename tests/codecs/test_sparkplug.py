"""Sparkplug B: births, aliases, sequence numbers, deaths, and what is asked of an edge node."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.sparkplug import SparkplugCodec, SparkplugSettings, rebirth_request
from gateway.codecs.sparkplug_nodes import Node
from gateway.codecs.sparkplug_payload import Payload, parse
from gateway.config import InvalidConfig, loads
from gateway.core.errors import DecodeError
from tests.codecs.cases import sparkplug

NOW = 1_763_680_000_000_000_000
AT = 1_700_000_000_000  # ms
TIME = AT * 10**6
INT8, INT16, INT32, INT64, UINT8, UINT32 = 1, 2, 3, 4, 5, 7
UINT64, FLOAT, BOOLEAN, STRING = 8, 9, 11, 12


def varint(number: int) -> bytes:
    """As Protocol Buffers encode it."""
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes((*digits, number))


def number(place: int, value: int) -> bytes:
    """A field that holds a number."""
    return varint(place << 3) + varint(value)


def sized(place: int, value: bytes) -> bytes:
    """A field that holds bytes, text or a message."""
    return varint(place << 3 | 2) + varint(len(value)) + value


# By hand, with the numbers of the published sparkplug_b.proto.
BIRTH = (
    number(1, AT)
    + sized(2, sized(1, b"bdSeq") + number(4, UINT64) + number(11, 7))
    + sized(2, sized(1, b"Node Control/Rebirth") + number(4, BOOLEAN) + number(14, 0))
    + sized(
        2,
        sized(1, b"Inputs/Temperature") + number(2, 3) + number(3, AT) + number(4, FLOAT)
        + sized(9, sized(1, b"engUnit") + sized(2, number(1, STRING) + sized(8, b"Cel")))
        + varint(12 << 3 | 5) + bytes.fromhex("0000ac41"),
    )
    + sized(2, sized(1, b"count") + number(2, 4) + number(4, INT16) + number(10, 65_535))
    + sized(2, sized(1, b"label") + number(4, STRING) + number(6, 1) + sized(15, b"north"))
    + sized(2, sized(1, b"none") + number(4, INT32) + number(7, 1))
    + number(3, 0)
    + sized(4, b"a uuid, which says nothing here")
)  # fmt: skip


class House:
    """A codec with what comes in by topic, and what it asked for."""

    def __init__(self) -> None:
        self.codec = SparkplugSettings().build()
        self.asked: list[str] = []
        self.codec.ask = lambda topic, payload: self.asked.append(topic)

    def hears(
        self, kind: str, payload: bytes, device: str = "", edge: str = "E", at: int = NOW
    ) -> list[Any]:
        """The readings of a message."""
        topic = f"spBv1.0/G/{kind}/{edge}{'/' * bool(device)}{device}"
        found = self.codec.addressed(topic, device or edge, payload, at)
        assert all(name == "" for name, _, _ in found)
        return [(when, values) for _, when, values in found]

    def node(self, edge: str = "E") -> Node:
        return self.codec.nodes.of("G", edge)


def test_a_birth_as_it_is_on_the_wire() -> None:
    house = House()
    assert house.hears("NBIRTH", BIRTH) == [
        (TIME, {"online": True, "Inputs.Temperature": 21.5, "count": -1.0, "label": "north"})
    ]
    assert house.codec.units("E") == {"Inputs.Temperature": "Cel"}
    assert (house.node().bd_seq, house.node().seq, house.node().online) == (7, 0, True)
    assert house.asked == []


def test_data_by_alias() -> None:
    house = House()
    house.hears("NBIRTH", BIRTH)
    data = sparkplug(1, {"alias": 3, "float_value": 22.5}, {"alias": 4, "int_value": 2}, at=AT + 1)
    assert house.hears("NDATA", data) == [
        (TIME + 10**6, {"Inputs.Temperature": 22.5, "count": 2.0})
    ]
    # With its name it needs no alias, and the birth's type holds.
    data = sparkplug(2, {"name": "count", "int_value": 65_534}, at=AT)
    assert house.hears("NDATA", data) == [(TIME, {"count": -2.0})]
    assert house.asked == []


def test_aliases_are_those_of_one_device() -> None:
    house = House()
    house.hears(
        "NBIRTH", sparkplug(0, {"name": "a", "alias": 1, "datatype": FLOAT, "float_value": 1})
    )
    house.hears(
        "DBIRTH", sparkplug(1, {"name": "b", "alias": 2, "datatype": FLOAT, "float_value": 1}), "D"
    )
    assert house.hears("DDATA", sparkplug(2, {"alias": 2, "float_value": 5}), "D") == [
        (TIME, {"b": 5.0})
    ]
    with pytest.raises(DecodeError, match="alias 1 is in no birth of E/D") as refused:
        house.hears("DDATA", sparkplug(3, {"alias": 1, "float_value": 5}), "D")
    assert refused.value.reason == "alias"
    # A node's birth voids those of its devices.
    house.hears(
        "NBIRTH", sparkplug(0, {"name": "a", "alias": 1, "datatype": FLOAT, "float_value": 1})
    )
    with pytest.raises(DecodeError):
        house.hears("DDATA", sparkplug(1, {"alias": 2, "float_value": 5}), "D")


def test_metrics_with_times_of_their_own() -> None:
    house = House()
    data = sparkplug(
        0,
        {"name": "a", "float_value": 1, "timestamp": AT - 2}, {"name": "b", "float_value": 2},
        {"name": "a", "float_value": 3, "timestamp": AT - 1, "is_historical": True},
        {"name": "c", "float_value": 4, "timestamp": AT - 2},
        {"name": "c", "float_value": 5, "timestamp": AT - 2},
    )  # fmt: skip
    assert house.hears("NDATA", data) == [
        (TIME - 2 * 10**6, {"a": 1.0, "c": 4.0}), (TIME, {"b": 2.0}),
        (TIME - 10**6, {"a": 3.0}), (TIME - 2 * 10**6, {"c": 5.0}),
    ]  # fmt: skip
    assert house.hears("NDATA", sparkplug(1, {"name": "a", "float_value": 1}, at=0)) == [
        (None, {"a": 1.0})
    ]


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ({"datatype": INT8, "int_value": 0xFF}, -1.0),
        ({"datatype": INT8, "int_value": 2**32 - 1}, -1.0),
        ({"datatype": INT8, "int_value": 127}, 127.0),
        ({"datatype": INT32, "int_value": 2**31}, -(2.0**31)),
        ({"datatype": INT64, "long_value": 2**64 - 1}, -1.0),
        ({"datatype": UINT8, "int_value": 255}, 255.0),
        ({"datatype": UINT64, "long_value": 2**64 - 1}, 2.0**64), ({"double_value": 0.1}, 0.1),
        ({"datatype": BOOLEAN, "boolean_value": True}, True),
        ({"datatype": BOOLEAN, "int_value": 1}, True),
        ({"datatype": STRING, "string_value": "on"}, "on"),
        ({"datatype": 13, "long_value": AT}, float(AT)),
    ],
)  # fmt: skip
def test_types(metric: dict[str, Any], value: Any) -> None:
    ((_, values),) = House().hears("NDATA", sparkplug(0, {"name": "a", **metric}))
    assert values == {"a": value}
    assert type(values["a"]) is type(value)


def test_templates_flatten_and_what_is_no_value_is_left_out() -> None:
    payload = Payload(timestamp=AT, seq=0)
    motor = payload.metrics.add(name="Motor/1").template_value
    motor.metrics.add(name="rpm", double_value=900)
    inner = motor.metrics.add(name="coil").template_value
    inner.metrics.add(name="t", datatype=INT8, int_value=0xF0)
    kind = payload.metrics.add(name="_types_/Motor").template_value
    kind.is_definition = True
    kind.metrics.add(name="rpm", double_value=0)
    payload.metrics.add(name="file", bytes_value=b"123")
    payload.metrics.add(name="table", dataset_value=b"")
    payload.metrics.add(name="nan", double_value=float("nan"))
    assert House().hears("NDATA", payload.SerializeToString()) == [
        (TIME, {"Motor.1.rpm": 900.0, "Motor.1.coil.t": -16.0})
    ]


def test_templates_without_end_are_refused() -> None:
    payload = Payload(timestamp=AT, seq=0)
    metrics = payload.metrics
    for _ in range(20):
        metrics = metrics.add(name="a").template_value.metrics
    metrics.add(name="b", double_value=1)
    with pytest.raises(DecodeError) as refused:
        House().hears("NDATA", payload.SerializeToString())
    assert refused.value.reason == "too_deep"


def test_a_gap_asks_for_a_rebirth_once() -> None:
    house = House()
    house.hears("NBIRTH", BIRTH)
    for seq in (1, 2, 4, 5, 7):  # 3 and 6 are missing
        house.hears("NDATA", sparkplug(seq, {"alias": 3, "float_value": 1}))
    assert house.node().gaps == 2
    assert house.asked == ["spBv1.0/G/NCMD/E"]


def test_numbers_go_round_and_a_repeat_is_no_gap() -> None:
    house = House()
    house.hears("NBIRTH", BIRTH)
    for seq in (*range(1, 256), 0, 1, 1, 2):
        house.hears("NDATA", sparkplug(seq, {"alias": 3, "float_value": 1}))
    assert house.node().gaps == 0
    assert house.asked == []


def test_a_dead_letter_that_is_tried_again_is_no_gap() -> None:
    house = House()
    house.hears("NBIRTH", BIRTH)
    house.hears("NDATA", sparkplug(7, {"alias": 3, "float_value": 1}), at=NOW - 1)
    house.hears("NDATA", sparkplug(1, {"alias": 3, "float_value": 1}))
    assert (house.node().gaps, house.asked) == (0, [])


def test_data_before_a_birth_is_taken_by_name_and_a_rebirth_asked_for() -> None:
    house = House()
    data = sparkplug(9, {"name": "a", "datatype": FLOAT, "float_value": 1})
    assert house.hears("NDATA", data) == [(TIME, {"a": 1.0})]
    assert house.asked == ["spBv1.0/G/NCMD/E"]
    with pytest.raises(DecodeError) as refused:
        house.hears("NDATA", sparkplug(10, {"alias": 1, "float_value": 1}))
    assert refused.value.reason == "alias"
    assert house.asked == ["spBv1.0/G/NCMD/E"]  # not again so soon
    with pytest.raises(DecodeError):
        house.hears("NDATA", sparkplug(10, {"float_value": 1}), edge="other")
    assert house.asked == ["spBv1.0/G/NCMD/E", "spBv1.0/G/NCMD/other"]


@pytest.mark.parametrize(
    ("datatype", "value", "meant"),
    [
        (INT32, {"int_value": 2**32 - 5}, -5.0),
        (UINT32, {"int_value": 2**32 - 5}, 2.0**32 - 5),
        (INT64, {"long_value": 2**64 - 5}, -5.0),
        (INT16, {"int_value": 5}, 5.0),
    ],
)
def test_an_integer_is_not_guessed_before_a_birth_has_told_its_type(
    datatype: int, value: dict[str, Any], meant: float
) -> None:
    """Data leave out the type as the standard wants it, and 4294967291 may be -5."""
    house = House()
    data = sparkplug(9, {"name": "level", **value}, {"name": "b", "float_value": 1})
    with pytest.raises(DecodeError, match='"level" is in no birth of E/D') as refused:
        house.hears("DDATA", data, "D")
    assert refused.value.reason == "datatype"
    assert house.asked == ["spBv1.0/G/NCMD/E"]
    house.hears("NBIRTH", BIRTH)
    birth = sparkplug(1, {"name": "level", "datatype": datatype, **value})
    assert house.hears("DBIRTH", birth, "D") == [(TIME, {"online": True, "level": meant})]
    again = house.hears("DDATA", data, "D", at=NOW - 1)
    assert again == [(TIME, {"level": meant, "b": 1.0})]
    # A metric that the birth left out is as little known.
    with pytest.raises(DecodeError, match='"other" is in no birth of E/D'):
        house.hears("DDATA", sparkplug(2, {"name": "other", **value}), "D")


def test_what_needs_no_type_is_taken_before_a_birth() -> None:
    metrics = (
        {"name": "f", "float_value": 1}, {"name": "d", "double_value": -2},
        {"name": "b", "boolean_value": True}, {"name": "s", "string_value": "on"},
        {"name": "n", "is_null": True}, {"name": "bdSeq", "long_value": 3},
    )  # fmt: skip
    assert House().hears("NDATA", sparkplug(9, *metrics)) == [
        (TIME, {"f": 1.0, "d": -2.0, "b": True, "s": "on"})
    ]


def test_a_birth_without_types_is_taken_as_it_is() -> None:
    """Nothing better will come: to be born again would tell the same."""
    house = House()
    birth = sparkplug(0, {"name": "a", "alias": 1, "int_value": 7})
    assert house.hears("NBIRTH", birth) == [(TIME, {"online": True, "a": 7.0})]
    assert house.hears("NDATA", sparkplug(1, {"name": "a", "int_value": 8})) == [(TIME, {"a": 8.0})]
    assert house.hears("NDATA", sparkplug(2, {"alias": 1, "int_value": 9})) == [(TIME, {"a": 9.0})]
    assert house.asked == []


def test_types_of_what_is_in_a_template_are_those_of_its_birth() -> None:
    def motor(seq: int, **coil: int) -> bytes:
        payload = Payload(timestamp=AT, seq=seq)
        part = payload.metrics.add(name="Motor/1").template_value.metrics.add(name="coil")
        part.template_value.metrics.add(name="t", **coil)
        return payload.SerializeToString()

    house = House()
    with pytest.raises(DecodeError, match='"Motor/1/coil/t" is in no birth') as refused:
        house.hears("NDATA", motor(9, int_value=0xF0))
    assert refused.value.reason == "datatype"
    house.hears("NBIRTH", motor(0, int_value=1, datatype=INT8))
    assert house.hears("NDATA", motor(1, int_value=0xF0)) == [(TIME, {"Motor.1.coil.t": -16.0})]


def test_deaths() -> None:
    house = House()
    house.hears("NBIRTH", BIRTH)
    session = {"name": "bdSeq", "datatype": UINT64}
    assert house.hears("DDEATH", sparkplug(1), "D") == [(TIME, {"online": False})]
    # The will of an earlier session comes late: it says nothing of this one.
    assert house.hears("NDEATH", sparkplug(None, {**session, "long_value": 6})) == []
    assert house.node().online
    assert house.hears("NDEATH", sparkplug(None, {**session, "long_value": 7}, at=0)) == [
        (None, {"online": False})
    ]
    assert not house.node().online
    house.hears("NBIRTH", BIRTH)
    assert house.asked == []


def test_the_request() -> None:
    topic, payload = rebirth_request("G", "E")
    assert topic == "spBv1.0/G/NCMD/E"
    (metric,) = parse(payload).metrics
    assert (metric.name, metric.datatype, metric.boolean_value) == (
        "Node Control/Rebirth", BOOLEAN, True,
    )  # fmt: skip
    assert sized(1, b"Node Control/Rebirth") in payload


def test_the_hosts_own_state() -> None:
    assert SparkplugSettings().host_state() is None
    state = SparkplugSettings(host="farm").host_state()
    assert state is not None
    assert state.topic == "spBv1.0/STATE/farm"
    assert json.loads(state.message(True, AT)) == {"online": True, "timestamp": AT}
    assert json.loads(state.message(False, AT)) == {"online": False, "timestamp": AT}
    with pytest.raises(InvalidConfig, match="host"):
        loads("devices: [{type: mqtt, codec: {type: sparkplug, host: a/b}}]")


def test_what_hosts_say_is_no_reading() -> None:
    house = House()
    assert house.hears("NCMD", rebirth_request("G", "E")[1]) == []
    assert house.hears("DCMD", sparkplug(None, {"name": "a", "float_value": 1}), "D") == []
    assert house.codec.addressed("spBv1.0/STATE/host", "d", b'{"online":true}', NOW) == ()
    assert house.asked == []


@pytest.mark.parametrize(
    "topic",
    ["spBv1.0/G/NDATA", "spAv1.0/G/NDATA/E", "spBv1.0/G/NDATA/E/D", "spBv1.0/G/DDATA/E",
     "spBv1.0/G/XDATA/E", "spBv1.0/STATE/host/x", "", "devices/d/telemetry"],
)  # fmt: skip
def test_other_topics(topic: str) -> None:
    with pytest.raises(DecodeError) as refused:
        SparkplugCodec().addressed(topic, "d", sparkplug(0), NOW)
    assert refused.value.reason == "topic"
    with pytest.raises(DecodeError):
        SparkplugCodec().decode("d", sparkplug(0), NOW)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xff", "malformed"), (sparkplug(0, {"name": "a\x07", "float_value": 1}), "metric"),
        (sparkplug(0, {"name": "a", "float_value": float("inf")}), "malformed"),
        (sparkplug(0, {"name": "a", "float_value": 1, "timestamp": 2**63}), "time"),
        (sparkplug(0, *[{"name": "a", "float_value": 1}] * 5_001), "too_many"),
        (sparkplug(0, *[{"name": f"a{n}", "float_value": 1} for n in range(1_001)]), "too_many"),
        (sized(2, sized(1, b"\xff")), "malformed"),
        (sparkplug(0, {"name": "a", "string_value": "x" * 2_000}), "metric"),
    ],
)  # fmt: skip
def test_bad(payload: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as refused:
        House().hears("NDATA", payload)
    assert refused.value.reason == reason


def test_a_birth_without_names_is_refused() -> None:
    with pytest.raises(DecodeError) as refused:
        House().hears("NBIRTH", sparkplug(0, {"alias": 1, "float_value": 1}))
    assert refused.value.reason == "metric"


def test_nodes_without_end_cost_bounded_memory() -> None:
    house = House()
    data = sparkplug(0, {"name": "a", "float_value": 1})
    for number in range(1_000):
        house.hears("NDATA", data, edge=f"e{number}")
    with pytest.raises(DecodeError) as refused:
        house.hears("NDATA", data, edge="one-more")
    assert refused.value.reason == "too_many"
    assert len(house.codec._asked) <= 1_000


def test_devices_without_end_cost_bounded_memory() -> None:
    house = House()
    birth = sparkplug(1, *[{"name": f"a{n}", "alias": n, "float_value": 1} for n in range(900)])
    for number in range(111):
        house.hears("DBIRTH", birth, f"d{number}")
    with pytest.raises(DecodeError) as refused:
        house.hears("DBIRTH", birth, "one-more")
    assert refused.value.reason == "too_many"
    house.hears("NBIRTH", sparkplug(0))
    house.hears("DBIRTH", birth, "d0")  # what was void is free again


def test_a_long_name_is_not_kept_with_each_part_of_its_template() -> None:
    house = House()
    payload = Payload(timestamp=AT, seq=0)
    parts = payload.metrics.add(name="x" * 10_000).template_value.metrics
    for number in range(1_000):
        parts.add(name=str(number), is_null=True)
    house.hears("NBIRTH", payload.SerializeToString())
    assert sum(map(len, house.node().types[""])) < 20_000


@given(st.lists(st.integers(0, 255), max_size=40))
def test_every_gap_is_counted(numbers: list[int]) -> None:
    node = Node(seq=0)
    before, gaps = 0, 0
    for seq in numbers:
        gaps += (seq - before) % 256 > 1
        assert node.follows(seq) == ((seq - before) % 256 <= 1)
        before = seq
    assert node.gaps == gaps
