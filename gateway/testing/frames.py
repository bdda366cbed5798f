"""What a device hands over: bursts that the gateway can decode, store and acknowledge."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from gateway.core.contracts import (
    Addressed,
    Burst,
    Codec,
    CodecMapped,
    Device,
    Reading,
    TopicMapped,
    Value,
)
from gateway.core.errors import DecodeError
from gateway.core.settings import DeviceSettings
from gateway.testing.verdict import unfit

_DAY = 86_400 * 10**9
_SANE = 10**17  # ns since 1970, in 1973: what is below was given in other units
_COLUMNS = ("packet_ids", "repeats", "forwarded", "faults")
_ODD = ("", "/", "#", "x", "\0", "ä" * 300, "a/b/c/d/e/f/g", "%", "{1}")


class Frames:
    """Looks at bursts of one device. readings: how many it saw so far."""

    def __init__(self, device: Device, settings: DeviceSettings) -> None:
        self.readings = 0
        self._device = device
        chosen = getattr(settings, "codec", None)
        self._codec: Codec | None = None if chosen is None else chosen.build()

    def check(self, burst: Any) -> None:
        """Raises Unfit if a burst is not what the contract says."""
        if not isinstance(burst, Burst):
            unfit(f"listen() gave {burst!r}", "yield Burst(…), see gateway.core.contracts")
        if abs(burst.received - time.time_ns()) > _DAY:
            unfit(f"Burst.received is {burst.received}", "time.time_ns(): ns since 1970")
        if not burst.patient and burst.on_done is None:
            fix = "give on_done, and answer there; or leave out patient=False"
            unfit("a burst is not patient and has no on_done: nobody is told", fix)
        if burst.readings is not None:
            for reading in burst.readings:
                self._check_reading(reading)
        else:
            self._check_columns(burst)
            self._decode(burst)

    def check_topics(self) -> None:
        """Raises Unfit if odd topics, which strangers may send, do more than DecodeError."""
        device = self._device
        for topic in _ODD:
            if isinstance(device, TopicMapped):
                _only_decode_errors(device.device_of, "device_of", topic)
            if isinstance(device, CodecMapped):
                _only_decode_errors(device.codec_of, "codec_of", topic)

    def _check_reading(self, reading: Any) -> None:
        if not isinstance(reading, Reading):
            unfit(f"a burst has {reading!r} among its readings", "Reading(device, time, values)")
        if reading.time < _SANE:
            unfit(f"Reading.time is {reading.time}", "ns since 1970, as time.time_ns() gives")
        if not reading.values:
            unfit("a reading has no values", "leave out readings that say nothing")
        _check_values(reading.values)
        self.readings += 1

    def _check_columns(self, burst: Burst) -> None:
        count = len(burst.payloads)
        if not count:
            unfit("a burst is empty", "yield nothing while there is nothing")
        for name in ("topics", *_COLUMNS):
            column = getattr(burst, name)
            if (column or name == "topics") and len(column) != count:
                unfit(
                    f"Burst.{name} has {len(column)} of {count}", "one for each frame, in one order"
                )
        if wrong := [each for each in burst.payloads if not isinstance(each, bytes)]:
            unfit(f"a payload is {type(wrong[0]).__name__}", "bytes, as they came")

    def _decode(self, burst: Burst) -> None:
        faults = burst.faults or [None] * len(burst)
        for topic, payload, fault in zip(burst.topics, burst.payloads, faults, strict=True):
            if fault is not None:
                continue
            try:
                reports = self._reports(topic, payload, burst.received)
            except DecodeError:
                continue
            for values in reports:
                _check_values(values)
                self.readings += 1

    def _reports(self, topic: str, payload: bytes, received: int) -> Iterable[dict[str, Value]]:
        device = self._device
        name = device.device_of(topic) if isinstance(device, TopicMapped) else device.name
        codec = device.codec_of(topic) if isinstance(device, CodecMapped) else self._codec
        if codec is None:
            fix = "codec: SerializeAsAny[CodecSettings] = JsonSettings() in the settings"
            unfit("frames come, and nobody knows how they are written", fix)
        if isinstance(codec, Addressed):
            return [each[2] for each in codec.addressed(topic, name, payload, received)]
        return [values for _, values in codec.decode(name, payload, received)]


def _check_values(values: dict[str, Any]) -> None:
    for metric, value in values.items():
        if not isinstance(metric, str) or not metric:
            unfit(f"a metric is called {metric!r}", "a text that is not empty")
        if not isinstance(value, float | int | bool | str):
            fix = "float, int, bool or str; numbers as floats, so that 21 and 21.5 do not clash"
            unfit(f"{metric} is {type(value).__name__} {value!r}", fix)


def _only_decode_errors(call: Callable[[str], Any], name: str, topic: str) -> None:
    try:
        call(topic)
    except DecodeError:
        pass
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        unfit(
            f"{name}({topic[:20]!r}) raises {type(error).__name__}: {error}",
            "raise DecodeError(…, reason=…): the frame becomes a dead letter",
        )
