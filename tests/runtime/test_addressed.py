"""Codecs that go by the topic, and payloads that tell of several devices."""

from typing import Any

from gateway.codecs.families import FamiliesCodec
from gateway.codecs.json import JsonSettings
from gateway.codecs.line import LineSettings
from gateway.codecs.sparkplug import SparkplugSettings
from gateway.core.contracts import Burst, Codec, Value
from gateway.runtime.decoded import Decoded, Limits
from gateway.runtime.decoding import Decoder
from tests.codecs.cases import sparkplug

NOW = 1_795_000_000 * 10**9


class Registry:
    """Knows everybody by an id; `large` may have no metric."""

    def id_of(self, original: str, source: str) -> str:
        return f"{source}-{original}".lower()

    def delayed(self, device: str, seconds: float) -> None:
        """Not looked at here."""

    def admit(self, device: str, values: dict[str, Value]) -> dict[str, Value]:
        return values

    def refused(self, device: str, count: int) -> None:
        raise AssertionError


def decoder(codec: Codec) -> Decoder:
    return Decoder(
        "s", codec, lambda topic: topic.split("/")[-1], Registry(), Limits(),
        lambda burst: (NOW, 0),
    )  # fmt: skip


def decoded(codec: Codec, *frames: tuple[str, bytes]) -> Decoded:
    topics, payloads = zip(*frames, strict=True)
    return decoder(codec).decode(Burst(NOW, topics, payloads))


def told(result: Decoded) -> list[tuple[str, dict[str, Any]]]:
    return [(reading.device, reading.values) for reading in result.readings]


def test_a_payload_may_name_its_devices() -> None:
    codec = LineSettings(metric="{field}", device="{host}").build()
    found = decoded(codec, ("x/T", b"cpu,host=A idle=1\ncpu,host=B idle=2"), ("x/T", b"cpu idle=1"))
    assert told(found) == [("s-a", {"idle": 1.0}), ("s-b", {"idle": 2.0})]
    assert len({reading.time for reading in found.readings}) == 2
    assert [(bad.device, bad.reason) for bad in found.bad] == [("s-t", "device")]
    assert found.frames == 1


def test_without_a_name_it_is_the_topics() -> None:
    frames = (("x/A", b"m v=1"), ("x/B", b"m v=2"))
    assert told(decoded(LineSettings(metric="{field}").build(), *frames)) == [
        ("s-a", {"v": 1.0}), ("s-b", {"v": 2.0}),
    ]  # fmt: skip


def test_what_is_of_no_concern_is_no_reading_and_no_dead_letter() -> None:
    found = decoded(SparkplugSettings().build(), ("spBv1.0/G/NCMD/E", sparkplug(None)))
    assert (found.readings, found.bad, found.frames) == ([], [], 1)


def test_a_retained_message_tells_the_state_of_its_own_device() -> None:
    codec = LineSettings(metric="{field}", device="{host}").build()
    state = decoder(codec).state("x/A", b"m,host=A v=1\nm,host=B v=2")
    assert state == ("s-a", {"v": 1.0})
    birth = sparkplug(0, {"name": "a", "float_value": 1})
    assert decoder(SparkplugSettings().build()).state("spBv1.0/G/NBIRTH/E", birth) == (
        "s-e", {"online": True, "a": 1.0},
    )  # fmt: skip


def test_units_are_those_of_the_codec() -> None:
    one = decoder(SparkplugSettings().build())
    birth = sparkplug(0, {"name": "a", "float_value": 1, "unit": "kg"})
    one.decode(Burst(NOW, ["spBv1.0/G/NBIRTH/E"], [birth]))
    assert one.units("s-e") == {"a": "kg"}
    assert decoder(JsonSettings().build()).units("s-e") == {}


def test_the_sources_own_topics_keep_the_quick_way_and_others_never_take_it() -> None:
    codec = FamiliesCodec(JsonSettings().build(), lambda topic: topic.startswith("devices/"))
    names = {"devices/a/telemetry": "a"}
    one = Decoder(
        "s", codec, lambda topic: codec.device_of(topic) or names.get(topic, ""), Registry(),
        Limits(), lambda burst: (NOW, 0),
    )  # fmt: skip
    topics = ["devices/a/telemetry", "zigbee2mqtt/Plug"]
    payloads = [b'{"x": 1, "state": "ON"}', b'{"power": 1, "state": "ON"}']
    for _ in range(2):
        found = one.decode(Burst(NOW, topics, payloads))
        assert told(found) == [
            ("s-a", {"x": 1.0, "state": "ON"}), ("s-plug", {"power": 1.0, "state": True}),
        ]  # fmt: skip
    own, others = map(one.senders.learn, topics)
    assert own.shapes == {("x", "state")}
    assert others.shapes == set()


def test_a_topic_that_names_nobody_registers_nobody() -> None:
    codec = FamiliesCodec(JsonSettings().build(), lambda topic: False)
    met: list[str] = []

    class Noting(Registry):
        def id_of(self, original: str, source: str) -> str:
            met.append(original)
            return original

    one = Decoder(
        "s", codec, lambda topic: codec.device_of(topic) or "", Noting(), Limits(),
        lambda burst: (NOW, 0),
    )  # fmt: skip
    config = b'{"name":"T","stat_t":"node/t","dev":{"ids":"1","name":"Node"}}'
    found = one.decode(Burst(NOW, ["homeassistant/sensor/n/t/config", "node/t"], [config, b"21.5"]))
    assert told(found) == [("Node", {"t": 21.5})]
    assert set(met) == {"Node"}
    assert one.state("node/t", b"22") == ("Node", {"t": 22.0})
    assert one.state("homeassistant/sensor/n/t/config", config) == ("", {})
    assert one.about("Node") is not None
