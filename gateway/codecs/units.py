"""Units that payloads or the configuration tell, by device and metric."""

from collections.abc import Mapping

_MOST = 50_000  # of all devices
_LONGEST = 32  # characters
_NONE: Mapping[str, str] = {}


class Units:
    """What a codec has heard so far; bounded, for a device may say what it likes."""

    def __init__(self) -> None:
        self._by_device: dict[str, dict[str, str]] = {}
        self._count = 0

    def learn(self, device: str, metric: str, unit: str) -> None:
        """A device's metric is in `unit`; nothing is learned of what is no unit."""
        known = self._by_device.get(device)
        if known is not None and known.get(metric) == unit:
            return
        if not unit.isprintable() or not 0 < len(unit) <= _LONGEST:
            return
        if known is None or metric not in known:
            if self._count >= _MOST:
                return
            self._count += 1
            known = self._by_device.setdefault(device, {})
        known[metric] = unit

    def of(self, device: str) -> Mapping[str, str]:
        """Unit by metric."""
        return self._by_device.get(device, _NONE)
