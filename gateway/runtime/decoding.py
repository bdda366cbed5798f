"""Frames to readings: which device, what it says, when; and what cannot be decoded."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from copy import copy
from itertools import repeat

from gateway.core.contracts import (
    About,
    Addressed,
    Burst,
    Codec,
    Flag,
    Introducing,
    Measured,
    Plain,
    Reading,
    Value,
)
from gateway.core.errors import DecodeError
from gateway.core.shared import Shared
from gateway.runtime.decoded import Bad, Decoded, Limits, Registry
from gateway.runtime.rates import Rates, is_over
from gateway.runtime.reading_times import Moment, Times
from gateway.runtime.senders import Sender, Senders

__all__ = ["Bad", "Decoded", "Decoder", "Limits", "Registry"]

_SHAPES = 8  # sets of metrics that are remembered of each topic
_SHARED = Shared[tuple[str, ...]]()
_NOBODY = ""  # whoever is no device (yet): all of them share one rate

Report = tuple[int | None, dict[str, Value]]
Named = tuple[str, int | None, dict[str, Value]]
_Flat = dict[str, Value] | None


def _no_codec(device: str, payload: bytes, received: int) -> Iterable[Report]:
    raise DecodeError("this source has no codec", reason="codec")


def _never_plain(payloads: Sequence[bytes]) -> Sequence[_Flat]:
    return [None] * len(payloads)


def _note_shape(sender: Sender, plain: _Flat, told: Sequence[Named]) -> None:
    """What a topic's own device says comes by the quick way from now on, if that gave the same."""
    if plain is None or len(told) != 1 or len(sender.shapes) >= _SHAPES:
        return
    name, given, values = told[0]
    if not name and given is None and tuple(plain) == tuple(values):
        sender.shapes = _SHARED.joined(sender.shapes, tuple(plain))


def _no_units(device: str) -> Mapping[str, str]:
    return {}


def _unknown(name: str) -> About | None:
    return None


def _nobody_gone() -> Collection[str]:
    return ()


class Decoder:
    """Decodes the frames of one source. codec: None where the source makes readings itself.
    received: when a burst came (ns), and the flags of a time that is ours. codec_of: the codec for
    a topic, where that says how its frames are written. ignored: devices that are not wanted.

    units: what the codec knows of a device's units, by metric. about: what it was told of a device,
    by its original name. gone: the original names of those that are not there."""

    def __init__(
        self,
        source: str,
        codec: Codec | None,
        device_of: Callable[[str], str],
        registry: Registry,
        limits: Limits,
        received: Callable[[Burst], tuple[int, int]],
        codec_of: Callable[[str], Codec] | None = None,
        ignored: Container[str] = frozenset(),
    ) -> None:
        self._source = source
        self._decode = codec.decode if codec is not None else _no_codec
        self._codec_of = codec_of
        self._plain = codec.plain if isinstance(codec, Plain) else _never_plain
        if codec_of is not None:
            self._plain = _never_plain
        able: object = codec  # to mypy no Codec can be something else too
        self._addressed = able.addressed if isinstance(able, Addressed) else None
        self.units = able.units if isinstance(able, Measured) else _no_units
        self.about = able.about if isinstance(able, Introducing) else _unknown
        self.gone = able.gone if isinstance(able, Introducing) else _nobody_gone
        self._registry = registry
        self._ignored = ignored
        self._limits = limits
        self._rates = Rates(limits.rate, limits.burst) if limits.rate else None
        self._device_of = device_of
        self.senders = Senders(self._topics_device, limits.topic)
        self._times = Times(received)

    def decode(
        self, burst: Burst, skip: Sequence[bool] = (), senders: Sequence[Sender] | None = None
    ) -> Decoded:
        """The burst's readings in order, without frames marked in `skip`. senders: of the frames,
        if all are known, and somebody has looked them up."""
        result = Decoded()
        senders = senders if senders is not None else self.senders.all_of(burst.topics)
        self.senders.next_burst()
        moment = self._times.moment(burst)
        devices = [sender.device for sender in senders] if senders is not None else ()
        left = self._left(devices or burst.topics, None if devices else self._device)
        # Of a flood nothing is decoded before it is known to pass: it must cost little.
        found = [] if left else self._plain(burst.payloads)
        odd = bool(left or skip or burst.forwarded or burst.faults)
        if senders is not None and not odd and self._are_alike(burst, senders, found):
            self._take_alike(burst, devices, found, moment, result)
        else:
            self._one_by_one(burst, found, skip, moment, left, result)
        self.senders.next_burst()
        self._tell(result.over)
        return result

    def _are_alike(self, burst: Burst, senders: Sequence[Sender], found: Sequence[_Flat]) -> bool:
        """Whether a whole burst is of messages like those before, which nearly all are. found: what
        the quick way made of each payload."""
        if max(map(len, burst.payloads), default=0) > self._limits.payload:
            return False
        for sender, values in zip(senders, found, strict=True):
            if values is None or tuple(values) not in sender.shapes:
                return False
        return True

    def _take_alike(
        self,
        burst: Burst,
        devices: Sequence[str],
        found: Sequence[_Flat],
        moment: Moment,
        result: Decoded,
    ) -> None:
        times = self._times.following(len(devices))
        result.readings = list(map(Reading, devices, times, found, repeat(moment.flags)))  # type: ignore[arg-type]
        result.frames, result.size = len(devices), sum(map(len, burst.payloads))

    def _one_by_one(
        self,
        burst: Burst,
        found: Sequence[_Flat],
        skip: Sequence[bool],
        moment: Moment,
        left: dict[str, int],
        result: Decoded,
    ) -> None:
        forwarded, theirs = burst.forwarded, moment.flagged(Flag.FORWARDED)
        faults = burst.faults or repeat(None)
        for index, (payload, fault) in enumerate(zip(burst.payloads, faults, strict=False)):
            if skip and skip[index]:
                continue
            topic = burst.topics[index]
            device = _NOBODY
            try:
                sender = self.senders.learn(topic)
                device = sender.device
                if device in self._ignored:
                    result.ignored[device] += 1
                    continue
                if left and is_over(left, device, result.over):
                    result.over_at.append(index)
                    continue
                if fault is not None:
                    raise DecodeError(fault[1], reason=fault[0])
                here = theirs if forwarded and forwarded[index] else moment
                flat = found[index] if found else self._plain((payload,))[0]
                result.readings += self._reports(topic, sender, payload, flat, here, result)
            except DecodeError as error:
                if device is _NOBODY and is_over(left, device, result.over):
                    result.over_at.append(index)
                    continue
                result.bad.append(Bad(device, topic, payload, error.reason, str(error), index))
            else:
                result.frames += 1
                result.size += len(payload)

    def take(self, burst: Burst, readings: Sequence[Reading]) -> Decoded:
        """Readings that a driver made itself: same admission, same clock, nothing to decode."""
        result = Decoded()
        moment = self._times.moment(burst)
        left = self._left([reading.device for reading in readings], self._named)
        for place, reading in enumerate(readings):
            device = _NOBODY
            try:
                device = self._registry.id_of(reading.device, self._source)
                if device in self._ignored:
                    result.ignored[device] += 1
                    continue
                if is_over(left, device, result.over):
                    result.over_at.append(place)
                    continue
                values = self._registry.admit(device, reading.values)
            except DecodeError as error:
                if device is _NOBODY and is_over(left, device, result.over):
                    result.over_at.append(place)
                    continue
                result.bad.append(Bad(reading.device, "", b"", error.reason, str(error), place))
            else:
                when, flags = self._times.read_at(reading.time, burst, moment)
                result.readings.append(Reading(device, when, values, flags))
                result.frames += 1
        result.size = 100 * len(result.readings)
        self._tell(result.over)
        return result

    def past(self) -> "Decoder":
        """A decoder for what came earlier: its times need not follow what has come since."""
        other = copy(self)
        other._times = self._times.anew()
        other._rates = None  # what is tried again on request is no flood
        return other

    def _left(
        self, senders: Sequence[str], device_of: Callable[[str], str] | None
    ) -> dict[str, int]:
        """How many messages of the devices that are over their rate may pass. Counted before
        anything is decoded: a flood must cost little. senders: of each message, which are the
        devices themselves where there is no `device_of`."""
        if self._rates is None:
            return {}
        counts = Counter(senders)
        if device_of is not None:
            by_sender, counts = counts, Counter()
            for sender, count in by_sender.items():
                counts[device_of(sender)] += count
        return self._rates.left(counts.items(), time.monotonic())

    def _topics_device(self, topic: str) -> str:
        """The id of the device that a topic names; nobody where it names none and the payload does.
        Raises DecodeError."""
        name = self._device_of(topic)
        return self._registry.id_of(name, self._source) if name else _NOBODY

    def _device(self, topic: str) -> str:
        try:
            return self.senders.learn(topic).device
        except DecodeError:
            return _NOBODY

    def _named(self, original: str) -> str:
        try:
            return self._registry.id_of(original, self._source)
        except DecodeError:
            return _NOBODY

    def _tell(self, over: Counter[str]) -> None:
        for device, count in over.items():
            self._registry.refused(device, count)

    def state(self, topic: str, payload: bytes) -> tuple[str, dict[str, Value]]:
        """The device and the values of a message that tells a last state. Raises DecodeError."""
        self.senders.next_burst()
        device = self.senders.learn(topic).device
        values: dict[str, Value] = {}
        if self._addressed is None:
            reports = [values for _, values in self._decode(device, payload, 0)]
        else:
            told = list(self._addressed(topic, device, payload, 0))
            devices = [self._named_by(each, device) for each in told]
            device = device or next(iter(devices), _NOBODY)
            reports = [each[2] for each, of in zip(told, devices, strict=True) if of == device]
        for report in reports:
            values |= self._registry.admit(device, report)
        return device, values

    def _named_by(self, report: Named, device: str) -> str:
        """The id of a report's device. device: the topic's. Raises DecodeError."""
        return self._registry.id_of(report[0], self._source) if report[0] else device

    def _reports(
        self,
        topic: str,
        sender: Sender,
        payload: bytes,
        plain: _Flat,
        moment: Moment,
        result: Decoded,
    ) -> list[Reading]:
        """What a payload reports. plain: what the quick way made of it."""
        if len(payload) > self._limits.payload:
            raise DecodeError(f"payload of {len(payload)} bytes", reason="too_large")
        if plain is not None and tuple(plain) in sender.shapes:
            return [Reading(sender.device, self._times.next(), plain, moment.flags)]
        if self._addressed is not None:
            told = list(self._addressed(topic, sender.device, payload, moment.received))
            _note_shape(sender, plain, told)
            named = [(self._named_by(each, sender.device), *each[1:]) for each in told]
            return self._wanted(named, moment, result)
        made, bare = [], True
        decode = self._decode if self._codec_of is None else self._codec_of(topic).decode
        for given, values in decode(sender.device, payload, moment.received):
            bare = bare and given is None
            made.append(self._reading(sender.device, given, values, moment))
        if plain is not None and bare and len(made) == 1 and len(sender.shapes) < _SHAPES:
            shape = tuple(plain)
            if shape == tuple(made[0].values):
                sender.shapes = _SHARED.joined(sender.shapes, shape)
        return made

    def _wanted(
        self, told: Iterable[tuple[str, int | None, dict[str, Value]]], moment: Moment,
        result: Decoded,
    ) -> list[Reading]:  # fmt: skip
        made = []
        for device, given, values in told:
            if device in self._ignored:
                result.left_out[device] += 1
            else:
                made.append(self._reading(device, given, values, moment))
        return made

    def _reading(
        self, device: str, given: int | None, values: dict[str, Value], moment: Moment
    ) -> Reading:
        """A report as a reading. given: its own time."""
        self._registry.admit(device, values)
        if given is None:
            return Reading(device, self._times.next(), values, moment.flags)
        when = self._times.sane(given, moment)
        if when != given:
            return Reading(device, when, values, moment.flags)
        if not moment.flags:  # else it waited somewhere, or our own clock is not set
            self._registry.delayed(device, (moment.received - when) / 1e9)
        return Reading(device, when, values, moment.late)
