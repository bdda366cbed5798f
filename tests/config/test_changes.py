"""What a reload has to do, and what it must leave alone."""

from gateway.config import loads
from gateway.config.changes import changes

BASE = """
devices: [{type: mqtt}, {type: system, id: pi}]
bridges: [{type: influxdb, name: home, url: "http://localhost:8086", database: a, version: "1"}]
"""


def test_the_same_is_no_change() -> None:
    assert not changes(loads(BASE), loads(BASE + "\n# a comment\njournal: {gather: 1s}\n"))


def test_devices_and_bridges_are_their_names() -> None:
    found = changes(
        loads(BASE),
        loads(BASE.replace("id: pi", "id: other").replace("database: a", "database: b")),
    )
    assert found
    assert (found.devices.added, found.devices.removed) == (["other"], ["pi"])
    assert (found.devices.changed, found.devices.same) == ([], ["mqtt"])
    assert (found.bridges.changed, found.bridges.gone, found.bridges.come) == (
        ["home"], ["home"], ["home"],
    )  # fmt: skip
    assert found.sections == frozenset()


def test_a_secret_that_changed_is_a_change() -> None:
    text = 'bridges: [{type: influxdb, url: "http://x", token: ${T}, org: o, bucket: b}]'
    found = changes(loads(text, {"T": "one"}), loads(text, {"T": "two"}))
    assert found.bridges.changed == ["influxdb"]
    assert "two" not in str(found.as_dict())


def test_the_broker_and_the_limits_concern_every_source() -> None:
    for more in ("broker: {port: 1884}", "limits: {payload: 1kB}"):
        found = changes(loads(BASE), loads(BASE + more))
        assert found.devices.changed == ["mqtt", "pi"]
        assert found.bridges.same == ["home"]
        assert not found.fixed


def test_who_it_is_cannot_change_while_it_runs() -> None:
    found = changes(loads(BASE), loads(BASE + "gateway: {id: other}\nclock: trust\n"))
    assert found.fixed == ["gateway", "clock"]
