"""References in values, and what of them is never shown."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway import registry
from gateway.config import InvalidConfig, load, loads
from gateway.config.models import BrokerSettings
from gateway.config.privacy import is_secret, leaks, masked
from gateway.config.schema import drivers
from gateway.core.settings import Secret

SECRET = "Tr0ub4dor-and-3"


def test_references(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123\n")
    path = tmp_path / "c.yaml"
    path.write_text(
        "gateway: {id: 'a-${N}-$${x}-${NONE:-d}', root: ${EMPTY:-r}}\n".replace("$${x}", "b")
        + "bridges: [{type: influxdb, url: http://h, bucket: $${b}, token: '${file:token}'}]"
    )
    config = load(path, {"N": "7", "EMPTY": ""})
    assert (config.gateway.id, config.gateway.root) == ("a-7-b-d", "r")
    (bridge,) = config.bridges
    assert bridge.bucket == "${b}"  # type: ignore[attr-defined]
    assert bridge.token.get_secret_value() == "0123"  # type: ignore[attr-defined]


def test_a_whole_value_is_retyped_only_where_no_text_will_do() -> None:
    text = (
        "broker: {embedded: ${E}, url: 'mqtt://x', port: ${P}, username: ${P}, password: ${P}}\n"
        "journal: {gather: ${G}}\ndevices: [{type: mqtt, qos: ${Q}, id: ${P}, client_id: ${E}}]"
    )
    config = loads(text, {"E": "false", "P": "0815", "G": "2s", "Q": "0"})
    broker = config.broker
    assert (broker.embedded, broker.port, broker.username) == (False, 815, "0815")
    assert broker.password is not None
    assert broker.password.get_secret_value() == "0815"
    (device,) = config.devices
    assert (device.qos, device.id, device.client_id) == (0, "0815", "false")  # type: ignore[attr-defined]


def test_references_need_no_quotes_inside_of_braces() -> None:
    config = loads("gateway: {id: ${ID:-a,b}, root: '${ID:-x}\uf8d0'}", {"ID": "a"})
    assert (config.gateway.id, config.gateway.root) == ("a", "a\uf8d0")
    with pytest.raises(InvalidConfig) as error:
        loads("gateway: {${ID}: 1, id: ${NONE}}", {})
    assert [(p.column, p.path) for p in error.value.problems] == [
        (11, "gateway.${ID}"), (25, "gateway.id"),
    ]  # fmt: skip


def test_what_was_put_in_is_not_looked_at_again() -> None:
    assert loads("broker: {url: mqtt://x, username: ${A}}", {"A": "${B}"}).broker.username == "${B}"


@pytest.mark.parametrize(
    "text",
    [
        "gateway: {id: '${S}'}",
        "gateway: {id: 'x ${S}'}",
        "broker: {url: '${S}'}",
        "broker: {url: 'mqtt://u:pa/${S}@host'}",
        "broker: {url: 'mqtt://u:${S}/x@host:1'}",
        "broker: {port: '${S}'}",
        "broker: {embedded: '${S}'}",
        "clock: ${S}",
        "journal: {gather: '${S}'}",
        "journal: {gather: '5${S}'}",
        "devices: '${S}'",
        "devices: ['${S}']",
        "devices: [{type: '${S}'}]",
        "devices: [{type: mqtt, codec: '${S}'}]",
        "devices: [{type: mqtt, topics: ['#/${S}']}]",
        "devices: [{type: mqtt, device: '{9}${S}'}]",
        "devices: [{type: mqtt, topics: '${S}'}]",
        "devices: [{type: mqtt, id: '${I}'}, {type: mqtt, id: '${I}'}]",
        "bridges: [{type: influxdb, bucket: b, url: '${S}'}]",
        "bridges: [{type: influxdb, bucket: b, url: 'http://x', batch: '${S}'}]",
        "bridges: [{type: influxdb, bucket: b, url: 'http://x', mapping: {measurement: '{${S}}'}}]",
        "broker: {password: Tr0ub4dor-and-3, x: 1}",
        "broker: {password: [Tr0ub4dor-and-3]}",
        "broker:\n  password: Tr0ub4dor-and-3: x",
        "broker: {x: 1, url: 'mqtt://u:Tr0ub4dor-and-3@host'}",
    ],
)
def test_no_secret_in_a_message(text: str) -> None:
    with pytest.raises(InvalidConfig) as error:
        loads(text, {"S": SECRET, "I": "tr0ub4dor-and-3"})
    said: str = repr(error.value.problems)
    at: BaseException | None = error.value
    while at is not None:
        said += str(at) + repr(at)
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    said = said.casefold()
    for part in ("tr0u", "ub4d", "dor-and", "and-3"):
        assert part not in said


def test_no_input_in_what_pydantic_says() -> None:
    """A driver's settings may be made, and their error logged, without this loader."""
    with pytest.raises(ValidationError) as error:
        BrokerSettings.model_validate({"port": SECRET})
    assert SECRET not in str(error.value)


def test_a_number_as_a_password_is_not_repeated() -> None:
    with pytest.raises(InvalidConfig) as error:
        loads("broker:\n  password: 48151623\n")
    (found,) = error.value.problems
    assert (found.line, found.column) == (2, 13)
    assert "48151623" not in str(error.value)
    assert "quotes" in found.fix


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("  password: hunter2, and more # c", "  password: ***************** # c"),
        ("{type: mqtt, password: hunter2, qos: 5}", "{type: mqtt, password: *******, qos: 5}"),
        ("{a: b, api_key: 'x y', t: d}", "{a: b, api_key: *****, t: d}"),
        ("token: ${TOKEN} # x", "token: ${TOKEN} # x"),
        ("{token: ${TOKEN}, a: 1}", "{token: ${TOKEN}, a: 1}"),
        ("password: ${A}${B}", "password: ********"),
        ("url: mqtts://u:p/w@host:1", "url: mqtts://u:***@host:1"),
        ("key_file: /a/b", "key_file: /a/b"),
        ("monkey: 5", "monkey: 5"),
        ("x" * 3000, ""),
    ],
)
def test_secrets_are_masked_in_lines(line: str, shown: str) -> None:
    assert masked(line) == shown


def test_telling_parts() -> None:
    assert leaks("port 'UB4Dxx'", SECRET)
    assert not leaks("port is wrong", SECRET)
    assert leaks("not 7 but", "7")
    assert not leaks("not 77 but", "7")
    assert not leaks("anything", "")


def test_every_secret_of_a_driver_is_known_by_its_name() -> None:
    """A line of a file is masked by the names of keys."""
    models = [
        BrokerSettings,
        *drivers(registry.DEVICES).values(),
        *drivers(registry.BRIDGES).values(),
    ]
    names = [
        name
        for model in models
        for name, field in model.model_fields.items()
        if field.annotation is Secret or Secret in getattr(field.annotation, "__args__", ())
    ]
    assert len(names) >= 4
    assert all(map(is_secret, names))
