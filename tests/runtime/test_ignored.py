"""Frames of devices that are not wanted: dropped and counted, whatever form they come in."""

from gateway.codecs.json import JsonSettings
from gateway.codecs.line import LineSettings
from gateway.core.contracts import Burst, Codec, Reading, Value
from gateway.runtime.decoding import Decoder, Limits

NOW = 1_795_000_000 * 10**9


class Registry:
    """Knows everybody by their own name."""

    def id_of(self, original: str, source: str) -> str:
        return original.lower()

    def delayed(self, device: str, seconds: float) -> None:
        """Not looked at here."""

    def admit(self, device: str, values: dict[str, Value]) -> dict[str, Value]:
        return values

    def refused(self, device: str, count: int) -> None:
        raise AssertionError


def decoder(ignored: set[str], codec: Codec | None = None) -> Decoder:
    return Decoder(
        "s", codec or JsonSettings().build(), lambda topic: topic, Registry(), Limits(),
        lambda burst: (NOW, 0), ignored=ignored,
    )  # fmt: skip


def test_frames_of_an_ignored_one_among_others() -> None:
    ignored: set[str] = set()
    found = decoder(ignored)
    burst = Burst(NOW, ["A", "B", "A"], [b'{"v": 1}'] * 3)
    for _ in range(3):  # by then the quick way is taken
        assert found.decode(burst).frames == 3
    ignored.add("a")
    found.senders.forget()
    for _ in range(3):
        result = found.decode(burst)
        assert [reading.device for reading in result.readings] == ["b"]
        assert (result.frames, result.ignored, result.bad) == (1, {"a": 2}, [])
    ignored.clear()
    found.senders.forget()
    assert found.decode(burst).frames == 3


def test_readings_that_a_driver_made() -> None:
    result = decoder({"a"}).take(
        Burst(NOW), [Reading(name, NOW, {"v": 1.0}) for name in ("A", "B", "A")]
    )
    assert (len(result.readings), result.frames, result.ignored) == (1, 1, {"a": 2})


def test_an_ignored_one_in_the_frame_of_another() -> None:
    codec = LineSettings(metric="{field}", device="{host}").build()
    result = decoder({"a"}, codec).decode(
        Burst(NOW, ["x"], [b"cpu,host=A idle=1\ncpu,host=B idle=2\ncpu,host=A idle=3"])
    )
    assert [reading.device for reading in result.readings] == ["b"]
    assert (result.frames, result.ignored, result.left_out) == (1, {}, {"a": 2})
