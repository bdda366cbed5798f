"""What is asked again and again whether anybody looks at the API or not: alive, ready, figures."""

from collections.abc import Callable

import msgspec

from gateway.web.house import House
from gateway.web.plain import Plain, plain_problem

_JSON = "application/json"


class Probes:
    """The probes of `house`."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._exposition: Callable[[], bytes] | None = None

    def alive(self) -> Plain:
        """The process is alive."""
        return Plain(200, msgspec.json.encode({"status": "alive"}), _JSON)

    def ready(self) -> Plain:
        """Data is accepted; 503 with reasons where it is not."""
        ready, reasons = self._house.ready()
        if not ready:
            return plain_problem(503, "; ".join(reasons), reasons=reasons)
        return Plain(200, msgspec.json.encode({"ready": True}), _JSON)

    def metrics(self) -> Plain:
        """For Prometheus."""
        from gateway.web.metrics import CONTENT_TYPE_LATEST, Exposition

        if self._exposition is None:
            self._exposition = Exposition(self._house)
        return Plain(200, self._exposition(), CONTENT_TYPE_LATEST)
