"""What the ends of connections tell about another client with our id."""

from gateway.io.mqtt.rivals import Rivals


def test_a_takeover_is_named_and_slows_us_down_to_a_minute() -> None:
    rivals = Rivals("gw-mqtt")
    said = [rivals.ended("Session taken over", True, True, 1.0) for _ in range(8)]
    assert '"gw-mqtt"' in said[0]
    assert "perhaps" not in said[0]
    assert rivals.pause() == 60.0


def test_thrown_out_at_once_again_and_again_is_suspicious() -> None:
    rivals = Rivals("gw-mqtt")
    said = [rivals.ended("conn lost", False, True, 0.5) for _ in range(4)]
    assert said[:2] == ["conn lost", "conn lost"]
    assert "perhaps another client" in said[3]
    assert rivals.pause() > 0


def test_outages_are_not() -> None:
    rivals = Rivals("gw-mqtt")
    for _ in range(20):
        assert rivals.ended("connection refused", False, False, 0.1) == "connection refused"
        assert rivals.ended("conn lost", False, True, 100.0) == "conn lost"
    assert (rivals.concern, rivals.pause()) == ("", 0.0)


def test_a_broker_that_is_killed_again_and_again_is_no_rival() -> None:
    rivals = Rivals("gw-mqtt")
    for _ in range(5):
        assert rivals.ended("conn lost", False, True, 0.5) == "conn lost"
        rivals.ended("connection refused", False, False, 0.1)
    assert (rivals.concern, rivals.pause()) == ("", 0.0)


def test_peace_is_made_after_a_long_time_alone() -> None:
    rivals = Rivals("gw-mqtt")
    rivals.ended("Session taken over", True, True, 1.0)
    rivals.ended("conn lost", False, True, 30.0)
    assert rivals.concern
    rivals.ended("conn lost", False, True, 700.0)
    assert (rivals.concern, rivals.pause()) == ("", 0.0)
