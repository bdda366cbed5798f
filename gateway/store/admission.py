"""Which metrics devices may have: so many each, and so many all together."""

from gateway.core.contracts import Value
from gateway.core.errors import DecodeError
from gateway.core.shared import Shared
from gateway.store.device import Device

_METRICS_SHARED = Shared[str]()
_SHAPES_SHARED = Shared[tuple[str, ...]]()
_SHAPES = 500_000  # names in all shapes that are remembered, of all devices


class Admission:
    """each: how many metrics one device may have; total: all of them together. series: how many
    there are."""

    def __init__(self, each: int, total: int) -> None:
        self._each = each
        self._total = total
        self.series = 0
        self._shapes = 0  # names in the shapes of all devices

    def adjust(self, each: int, total: int) -> None:
        """Go by other limits from now on; what is there stays."""
        self._each = each
        self._total = total

    def admit(self, known: Device, values: dict[str, Value]) -> dict[str, Value]:
        """`values`, if the device may have these metrics. Raises DecodeError with reason
        too_many_series or too_many_in_all."""
        names = tuple(values)
        if names in known.shapes:
            return values
        new = values.keys() - known.metrics
        if new:
            self._admit_new(known, new)
        # Every order and every choice of metrics is a shape of its own: remembered while there is
        # room, looked through name by name after that.
        if self._shapes + len(names) <= _SHAPES and len(known.shapes) < self._each:
            known.varies = bool(known.shapes)
            known.shapes = _SHAPES_SHARED.joined(known.shapes, names)
            self._shapes += len(names)
        return values

    def _admit_new(self, known: Device, new: set[str]) -> None:
        if len(known.metrics) + len(new) > self._each:
            raise DecodeError(
                f"{known.id} has {len(known.metrics)} metrics; these are too many more",
                reason="too_many_series",
                fix="raise limits.series",
            )
        if self.series + len(new) > self._total:
            raise DecodeError(
                f"all devices together have {self.series} metrics; these are too many more",
                reason="too_many_in_all",
                fix="raise limits.total_series",
            )
        known.metrics = _METRICS_SHARED.joined(known.metrics, *new)
        self.series += len(new)

    def joined(self, stays: Device, gone: Device) -> None:
        """One device is another's from now on."""
        self.series += len(gone.metrics - stays.metrics)
        stays.metrics |= gone.metrics

    def left(self, gone: Device) -> None:
        """A device is no more."""
        self.series -= len(gone.metrics)
        self._shapes -= sum(map(len, gone.shapes))
        gone.shapes = frozenset()

    def back(self, there: Device) -> None:
        """It is, after all."""
        self.series += len(there.metrics)
