"""Which family a topic belongs to, what is announced, and what is left to others."""

import contextlib
import logging
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.codecs.families import filters
from gateway.codecs.families.orders import order
from gateway.codecs.families.templates import (
    NothingThereError,
    UnknownTemplateError,
    template,
)
from gateway.core.errors import DecodeError
from gateway.core.topics import covers
from tests.codecs.test_families import House
from tests.support.faults import runs

SENSOR = "homeassistant/sensor/node/t/config"


def announce(house: House, topic: str = SENSOR, **config: Any) -> None:
    house.hears(
        topic, {"name": "T", "stat_t": "node/t", "dev": {"ids": "1", "name": "N"}, **config}
    )


def test_the_sources_own_topics_stay_its_own() -> None:
    house = House()
    announce(house, stat_t="devices/a/telemetry", val_tpl="{{ value_json.x }}")
    assert house.listened == set()
    assert house.hears("devices/a/telemetry", {"x": 1, "y": 2}) == [
        {"device": "", "values": {"x": 1.0, "y": 2.0}}
    ]
    assert house.codec.device_of("devices/a/telemetry") is None


def test_what_the_source_is_sent_anyway_is_not_listened_to_besides() -> None:
    house = House()
    house.hears("devices/OpenMQTTGateway_1/SYStoMQTT", {"uptime": 1})
    house.hears("home/OpenMQTTGateway_2/SYStoMQTT", {"uptime": 1})
    assert house.listened == {"home/OpenMQTTGateway_2/LWT"}


def test_a_will_of_an_earlier_run_is_no_dead_letter() -> None:
    house = House()
    assert house.hears("farm/gw7/LWT", "online") == []


def test_a_device_of_thingsboard_that_speaks_again_is_there_again() -> None:
    house, topic = House(), "v1/gateway/telemetry"
    said = {"device": "Pump", "values": {"t": 1.0}}
    assert house.hears(topic, {"Pump": {"t": 1}}) == [said]
    assert "online" not in house.about("Pump")  # nobody has said so
    for what in ("connect", "disconnect"):
        house.hears(f"v1/gateway/{what}", {"device": "Pump"})
    assert house.hears(topic, {"Pump": []}) == []
    assert house.codec.gone() == ["Pump"]
    assert house.hears(topic, {"Other": {"t": 1}, "Pump": {"t": 1}}) == [
        {"device": "Other", "values": {"t": 1.0}},
        {"device": "Pump", "values": {"online": True}},
        said,
    ]
    assert house.about("Pump")["online"] is True
    assert house.hears(topic, {"Pump": {"t": 1}}) == [said]


def test_what_a_wide_filter_brings_of_others_is_of_no_concern() -> None:
    house = House()
    for topic in ("lamp/online", "lamp/status/7", "te/a/b//"):
        assert house.codec.device_of(topic) in ("", "b"), topic
        assert house.hears(topic, "{}") == []


def test_what_nobody_announced_yet_is_kept_for_later() -> None:
    house = House()
    with pytest.raises(DecodeError) as refused:
        house.hears("node/t", "21.5")
    assert refused.value.reason == "unannounced"
    announce(house)
    assert house.hears("node/t", "21.5") == [{"device": "N", "values": {"t": 21.5}}]


def test_a_topic_that_another_family_reads_is_left_to_it() -> None:
    house = House()
    announce(house, stat_t="zigbee2mqtt/lamp", val_tpl="{{ value_json.x }}")
    assert house.listened == set()
    assert house.hears("zigbee2mqtt/lamp", {"x": 1}) == [{"device": "lamp", "values": {"x": 1.0}}]


def test_an_announcement_replaces_the_one_before() -> None:
    house = House()
    announce(house, unit_of_meas="°C")
    announce(house, stat_t="node/other", unit_of_meas="°F")
    assert house.listened == {"node/other"}
    assert house.about("N")["units"] == {"t": "°F"}
    with pytest.raises(DecodeError):
        house.hears(SENSOR, "not JSON")
    assert house.hears("node/other", "70") == [{"device": "N", "values": {"t": 70.0}}]
    house.hears(SENSOR, "")
    assert house.listened == set()


def test_two_devices_of_one_name_stay_two() -> None:
    house = House()
    announce(house)
    other = "homeassistant/sensor/other/t/config"
    announce(house, other, stat_t="other/t", dev={"ids": "2", "name": "N"})
    assert house.hears("node/t", "1") == [{"device": "N", "values": {"t": 1.0}}]
    assert house.hears("other/t", "2") == [{"device": "N 2", "values": {"t": 2.0}}]


STATE = {
    "type": "binary", "property": "state", "access": 7, "value_on": "on", "value_off": "off",
}  # fmt: skip
LAMP = {"friendly_name": "lamp", "definition": {"model": "L1", "exposes": [STATE]}}


def test_two_families_devices_of_one_name_stay_two() -> None:
    house = House()
    assert house.hears("tele/lamp/STATE", {"POWER": "ON"})[0]["device"] == "lamp"
    house.hears("zigbee2mqtt/bridge/devices", [LAMP])
    second = "lamp (Zigbee2MQTT)"
    assert house.codec.device_of("zigbee2mqtt/lamp") == second
    assert house.hears("zigbee2mqtt/lamp", {"state": "off"}) == [
        {"device": second, "values": {"state": False}}
    ]
    announce(house, name="T", dev={"ids": "1", "name": "lamp"})
    third = "lamp (Home Assistant discovery)"
    assert house.hears("node/t", "7") == [{"device": third, "values": {"t": 7.0}}]
    assert house.hears("tele/lamp/STATE", {"POWER": "OFF"})[0]["device"] == "lamp"
    assert "model" not in house.about("lamp")
    assert set(house.about("lamp")["commands"]) == {"POWER"}
    assert order(house.codec.known, second, "state", {"value": True}) == (
        "zigbee2mqtt/lamp/set/state",
        b"on",
    )
    house.hears("zigbee2mqtt/lamp/availability", "offline")
    assert house.codec.gone() == [second]


def test_an_announcement_besides_is_of_the_family_whose_topics_it_names() -> None:
    house = House()
    house.hears("tele/lamp/STATE", {"POWER": "ON"})
    house.hears("zigbee2mqtt/lamp", {"state": "ON"})
    relay = {"name": "relay", "stat_t": "zigbee2mqtt/lamp", "cmd_t": "zigbee2mqtt/lamp/set"}
    device = {"ids": "z2m_0xA", "name": "lamp", "mdl": "TS011F"}
    announce(house, "homeassistant/switch/z/relay/config", **relay, dev=device)
    assert set(house.about("lamp")["commands"]) == {"POWER"}
    about = house.about("lamp (Zigbee2MQTT)")
    assert (about["model"], set(about["commands"])) == ("TS011F", {"relay"})


def test_where_a_device_says_that_it_is_there_makes_it_no_other_familys() -> None:
    house = House()
    house.hears("tele/kitchen/STATE", {"POWER": "ON"})
    for name, more in (("temp", {}), ("hum", {"avty_t": "kitchen/online"})):
        announce(
            house, f"homeassistant/sensor/k/{name}/config", name=name, stat_t=f"node/{name}",
            dev={"ids": "k", "name": "kitchen"}, **more,
        )  # fmt: skip
    devices = {house.hears(f"node/{name}", "7")[0]["device"] for name in ("temp", "hum")}
    assert devices == {"kitchen (Home Assistant discovery)"}


def test_two_families_devices_of_a_name_without_an_id_stay_two() -> None:
    house = House()
    first = house.hears("tele/датчик/STATE", {"POWER": "ON"})[0]["device"]
    second = house.hears("zigbee2mqtt/датчик", {"temperature": 7.5})[0]["device"]
    assert (first, second) == ("device-974116bb", "device-974116bb (Zigbee2MQTT)")
    assert house.about(second)["units"] == {"temperature": "°C"}


@pytest.mark.parametrize("first", ["announced", "heard"])
def test_a_familys_device_that_is_announced_besides_stays_one(first: str) -> None:
    house = House()
    for what in (first, "announced", "heard"):
        if what == "heard":
            house.hears("zigbee2mqtt/lamp", {"state": "ON"})
            house.hears("home/garden/SYStoMQTT", {"uptime": 1})
            continue
        both = {"stat_t": "zigbee2mqtt/lamp", "val_tpl": "{{ value_json.x }}"}
        announce(house, **both, unit_of_meas="lx", dev={"ids": "1", "name": "lamp"})
        other = "homeassistant/binary_sensor/garden/c/config"
        announce(house, other, stat_t="home/garden/LWT", dev={"ids": "2", "name": "garden"})
    assert house.hears("zigbee2mqtt/lamp", {"x": 1})[0]["device"] == "lamp"
    assert house.about("lamp")["units"] == {"t": "lx"}
    about = house.codec.about("lamp")
    assert about is not None
    assert about.family == "Zigbee2MQTT"  # whose words its commands are said in
    assert house.hears("home/garden/SYStoMQTT", {"uptime": 1})[0]["device"] == "garden"


def test_a_name_of_which_no_id_can_be_made_is_another_one_for_ever() -> None:
    first, second = House(), House()
    for house in (first, second):
        house.hears("zigbee2mqtt/bridge/devices", [{"friendly_name": "датчик", "model_id": "m"}])
    topic, values = "zigbee2mqtt/датчик", {"temperature": 7.5}
    found = first.hears(topic, values)
    assert found == second.hears(topic, values) == [{"device": "device-974116bb", "values": values}]
    assert first.codec.device_of(topic) == "device-974116bb"
    assert first.about("device-974116bb")["name"] == "датчик"
    assert first.about("device-974116bb")["units"] == {"temperature": "°C"}


def test_what_clears_a_retained_message_says_nothing() -> None:
    house = House()
    announce(house, val_tpl="{{ value_json.a }}")
    for topic in (
        "node/t",
        "tele/a/SENSOR",
        "zigbee2mqtt/a",
        "v1/gateway/telemetry",
        "homie/a/n/p",
    ):
        assert house.hears(topic, "") == []


def test_a_command_is_said_as_the_family_says_it() -> None:
    house = House()
    house.hears("stat/plug/RESULT", {"POWER": "ON"})
    house.hears("shellies/shelly1-A/relay/0", "on")
    house.hears("homie/5/pump/$description", {"nodes": {"n": {"properties": {
        "on": {"datatype": "boolean", "settable": True}}}}})  # fmt: skip
    house.hears("homie/5/pump/$state", "ready")
    announce(house, "homeassistant/switch/a/b/config", name="S", cmd_t="a/s", pl_on="1", pl_off="0")
    announce(house, "homeassistant/light/a/l/config", name="L", cmd_t="a/l", schema="json")

    def told(device: str, name: str, **args: Any) -> tuple[str, bytes]:
        return order(house.codec.known, device, name, args)

    assert told("plug", "POWER", value=True) == ("cmnd/plug/POWER", b"ON")
    assert told("plug", "POWER") == ("cmnd/plug/POWER", b"")
    assert told("shelly1-A", "relay.0", value=False) == (
        "shellies/shelly1-A/relay/0/command",
        b"off",
    )
    assert told("pump", "n.on", value=True) == ("homie/5/pump/n/on/set", b"true")
    assert told("N", "s", value=True) == ("a/s", b"1")
    assert told("N", "l", value=True) == ("a/l", b'{"state":"ON"}')
    assert told("N", "l", state="ON", brightness=9) == ("a/l", b'{"state":"ON","brightness":9}')
    assert told("N", "s", value=21.5) == ("a/s", b"21.5")
    with pytest.raises(LookupError, match="it has l, s"):
        told("N", "x")
    with pytest.raises(LookupError, match="it has none"):
        told("nobody", "x")


@pytest.mark.parametrize(
    ("on", "off", "payloads"),
    [
        ("ON", "OFF", (b"ON", b"OFF")),
        ("on", "off", (b"on", b"off")),
        ("LOCK", "UNLOCK", (b"LOCK", b"UNLOCK")),
        (True, False, (b"true", b"false")),
    ],
)
def test_a_zigbee_device_is_told_in_its_own_words(
    on: object, off: object, payloads: tuple[bytes, bytes]
) -> None:
    house = House()
    feature = {"type": "binary", "property": "state", "access": 7}
    exposes = [{"type": "switch", "features": [{**feature, "value_on": on, "value_off": off}]}]
    told = {"friendly_name": "датчик", "definition": {"exposes": exposes}}
    house.hears("zigbee2mqtt/bridge/devices", [told])
    name = house.hears("zigbee2mqtt/датчик", {"battery": 7})[0]["device"]
    for value, payload in zip((True, False), payloads, strict=True):
        topic = "zigbee2mqtt/датчик/set/state"
        assert order(house.codec.known, name, "state", {"value": value}) == (topic, payload)


NUMBER = "homeassistant/number/a/l/config"


@pytest.mark.parametrize(
    ("form", "value", "payload"),
    [
        ('{"level": {{ value }} }', 5, '{"level": 5 }'),
        ('{"level": {{ value }} }', 5.5, '{"level": 5.5 }'),
        ('{"a": {"b": {{ (value * 10) | round }}}}', 5, '{"a": {"b": 50}}'),
        ('{"on": "{{ value | lower }}"}', True, '{"on": "on"}'),
        ("{{ value }}/{{ value | int + 1 }}\n", 7, "7/8"),
        ("NOW", 7, "NOW"),
    ],
)
def test_a_command_is_in_the_template_that_was_announced(
    form: str, value: Any, payload: str
) -> None:
    house = House()
    announce(house, NUMBER, name="L", cmd_t="a/l", cmd_tpl=form)
    assert order(house.codec.known, "N", "l", {"value": value}) == ("a/l", payload.encode())
    assert order(house.codec.known, "N", "l", {"x": 1}) == ("a/l", b'{"x":1}')
    announce(house, NUMBER, name="L", cmd_t="a/l")
    assert order(house.codec.known, "N", "l", {"value": 5}) == ("a/l", b"5")


@pytest.mark.parametrize(
    "form",
    [
        "{% if value == 'ON' %}1{% endif %}", "{{ 1 if value else 0 }}", "{{ value_json.a }}",
        "{{ value }}{# no #}", "{{ value", "{{ value | tojson }}", "{{- value }}", "{{ }}",
        "{{ value }}" + "x" * 2_000, "{{ value }}" * 90,
    ],
)  # fmt: skip
def test_a_command_whose_template_is_not_understood_is_refused(form: str) -> None:
    house = House()
    announce(house, NUMBER, name="L", cmd_t="a/l", command_template=form)
    with pytest.raises(ValueError, match="template that is not understood"):
        order(house.codec.known, "N", "l", {"value": 5})


def test_a_value_that_a_template_can_do_nothing_with_is_refused() -> None:
    house = House()
    config = {"temp_cmd_t": "a/t", "temp_cmd_tpl": "{{ value | float }}"}
    announce(house, "homeassistant/climate/a/h/config", name="H", **config)
    assert order(house.codec.known, "N", "h.temperature", {"value": 21.5}) == ("a/t", b"21.5")
    with pytest.raises(ValueError, match='"warm" is nothing'):
        order(house.codec.known, "N", "h.temperature", {"value": "warm"})


THERE = [{"t": "z/bridge"}, {"t": "z/dev", "val_tpl": "{{ value_json.state }}"}]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ({}, [True, False, True, True, False]),
        ({"avty_mode": "latest"}, [True, False, True, True, False]),
        ({"avty_mode": "all"}, [None, False, False, True, False]),
        ({"availability_mode": "any"}, [True, True, True, True, True]),
    ],
)
def test_who_has_several_topics_is_there_by_its_own_mode(
    mode: dict[str, str], expected: list[bool | None]
) -> None:
    house = House()
    found = []
    for topic, word in (
        ("z/bridge", "online"),
        ("z/dev", '{"state": "offline"}'),
        ("z/bridge", "online"),
        ("z/dev", '{"state": "online"}'),
        ("z/bridge", "offline"),
    ):
        announce(house, avty=THERE, **mode)  # again and again: what was said counts on
        told = house.hears(topic, word)
        found.append(told[0]["values"]["online"] if told else None)
    assert found == expected
    assert house.about("N")["online"] is expected[-1]


def test_a_topic_that_another_family_reads_is_not_waited_for() -> None:
    house = House()
    announce(house, avty=[{"t": "zigbee2mqtt/bridge/state"}, {"t": "z/dev"}], avty_mode="all")
    assert house.hears("z/dev", "online") == [{"device": "N", "values": {"online": True}}]


def test_who_was_offline_in_every_way_is_not_there() -> None:
    house = House()
    announce(house, avty=THERE, avty_mode="any")
    assert house.hears("z/bridge", "offline") == [{"device": "N", "values": {"online": False}}]
    assert house.codec.gone() == ["N"]


def test_words_of_announcements_that_are_no_more_are_forgotten() -> None:
    house = House()
    announce(house, "homeassistant/sensor/b/t/config", stat_t="b/t", avty_t="there")
    for number in range(50):
        announce(house, avty_t="there", pl_avail=f"up {number}")
        house.hears("there", f"up {number}")
    assert len(house.codec._announced._heard["there"]) <= 2


def test_two_entities_of_one_name_stay_two() -> None:
    house = House()
    announce(house)
    announce(house, "homeassistant/sensor/node/t2/config", stat_t="node/t2")
    assert house.hears("node/t2", "2") == [{"device": "N", "values": {"t_t2": 2.0}}]


def test_a_template_that_is_not_understood_is_told_once_and_never_guessed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    house = House()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            announce(house, val_tpl="{{ states('sensor.a') }}")
    assert caplog.text.count("t of N is not read") == 1
    assert "states(" in house.about("N")["unread"]["t"]
    assert house.listened == set()
    announce(house, val_tpl="{{ value_json.a }}")
    assert house.hears("node/t", '{"a": 3}') == [{"device": "N", "values": {"t": 3.0}}]
    assert "unread" not in house.about("N")


@pytest.mark.parametrize(
    ("text", "scope", "found"),
    [
        ("{{ value }}", {"value": "7"}, "7"),
        ("{{value_json.a.b}}", {"value_json": {"a": {"b": 1.5}}}, 1.5),
        ("{{ value_json['a b'][1] }}", {"value_json": {"a b": [1, 2]}}, 2),
        ('{{ value_json["a"].b | is_defined }}', {"value_json": {"a": {"b": "on"}}}, "on"),
        ("{{ value_json.get('a') | int }}", {"value_json": {"a": "7.9"}}, 7),
        ("{{ (value_json.a | float - 32) * 5 / 9 }}", {"value_json": {"a": 50}}, 10),
        ("{{ value_json.a / 10 | round(1) }}", {"value_json": {"a": 25}}, 2.5),
        ("{{ (value_json.a / 3) | round(2) }}", {"value_json": {"a": 1}}, 0.33),
        ("{{ float(value_json.a, 0) }}", {"value_json": {}}, 0),
        ("{{ value_json.a | default('x') | upper }}", {"value_json": {}}, "X"),
        ("{{ value|float(-1) }}", {"value": "?"}, None),
        ("{{- value_json.a -}}", {"value_json": {"a": 1}}, 1),
        ("{{ -value_json.a }}", {"value_json": {"a": 1}}, -1),
    ],
)
def test_templates(text: str, scope: dict[str, Any], found: Any) -> None:
    if found is None:
        with pytest.raises(UnknownTemplateError):
            template(text)
    else:
        assert template(text).read(scope) == pytest.approx(found)


@pytest.mark.parametrize(
    "text",
    [
        "", "value_json.a", "{% if value %}1{% endif %}", "{{ value_json.a }} °C", "{{ now() }}",
        "{{ value_json.a if value_json.b else 0 }}", "{{ value_json.a == 1 }}", "{{ value_json. }}",
        "{{ value_json.a | from_json }}", "{{ value | regex_replace('a', 'b') }}", "{{ }}",
        "{{ value_json.a, 1 }}", "{{ value_json['a }}",
        "{{ " + "(" * 20 + "value" + ")" * 20 + " }}",
        "{{ value" + " + value" * 60 + " }}", "{{ 'a' 'b' }}",
    ],
)  # fmt: skip
def test_other_templates_are_refused(text: str) -> None:
    with pytest.raises(UnknownTemplateError):
        template(text)


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("{{ value_json.a }}", {"value_json": {"b": 1}}),
        ("{{ value_json[3] }}", {"value_json": []}),
        ("{{ value_json.a / 0 }}", {"value_json": {"a": 1}}),
        ("{{ value_json.a | float }}", {"value_json": {"a": "x"}}),
        ("{{ value_json.a.b }}", {"value_json": {"a": 1}}),
        ("{{ value_json.a }}", {"value_json": 7}),
    ],
)  # fmt: skip
def test_what_is_not_there_is_no_value(text: str, scope: dict[str, Any]) -> None:
    with pytest.raises(NothingThereError):
        template(text).read(scope)


WORDS = (
    "{{ ", " }}", "value", "value_json", ".a", "['a']", "[0]", "(", ")", " | ", "float", "int(0)",
    "round(2)", "default(1)", "+", "-", " / ", "*", "0", "1.5", "'x'", ",", ".get('a')", "upper",
)  # fmt: skip
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("a"), inner),
    max_leaves=6,
)


@settings(max_examples=runs(500, 100_000), deadline=None, database=None)
@given(
    st.lists(st.sampled_from(WORDS), max_size=14).map("".join) | st.text(max_size=40),
    DATA,
    st.booleans(),
)
def test_a_template_is_understood_or_refused(text: str, data: Any, bare: bool) -> None:
    try:
        made = template(text if bare else f"{{{{ {text} }}}}")
    except UnknownTemplateError:
        return
    with contextlib.suppress(NothingThereError):
        made.read({"value": "7", "value_json": data})


def test_no_filter_takes_everything() -> None:
    for each in filters():
        levels = each.split("/")
        assert levels != ["#"]
        assert any(level not in ("+", "#") for level in levels)
        assert not covers(each, "devices/x/telemetry")
        assert not covers(each, "berrygate/gw/data/x/readings")


def test_a_retained_message_of_a_device_is_a_state_and_an_announcement_is_none() -> None:
    house = House()
    config = b'{"name":"T","stat_t":"node/t","dev":{"ids":"1","name":"N"}}'
    assert house.codec.retained(SENSOR, config)
    assert not house.codec.retained("node/t", b"21.5")
    assert not house.codec.retained("devices/a/telemetry", b'{"x": 1}')
    assert house.codec.retained("homie/a/$name", b"A")
    assert not house.codec.retained("tele/b/LWT", b"Offline")
    assert house.about("b")["online"] is False
