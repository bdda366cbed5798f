"""The metrics of NMEA 0183 sentences, and their units."""

from typing import NamedTuple


class Column(NamedTuple):
    """A field of a sentence that is a metric. place: which, from 0. factor: to the metric's unit.
    sided: the next field is E or W, and W is below 0. valid: it is no metric, but what must stand
    there for the sentence to mean anything."""

    place: int
    metric: str
    factor: float = 1.0
    sided: bool = False
    valid: tuple[str, ...] = ()


def _valid(place: int) -> Column:
    return Column(place, "", valid=("A", ""))


NAMED: dict[str, tuple[Column, ...]] = {
    # Position and movement; RMC and GGA have more to them, see gateway.codecs.nmea.
    "RMC": (Column(6, "speed"), Column(7, "course"), Column(9, "variation", sided=True)),
    "GGA": (
        Column(5, "fix"), Column(6, "satellites"), Column(7, "hdop"), Column(8, "altitude"),
        Column(10, "geoid"), Column(12, "dgps.age"),
    ),
    "GSA": (Column(1, "fix.mode"), Column(14, "pdop"), Column(15, "hdop"), Column(16, "vdop")),
    "VTG": (Column(0, "course"), Column(2, "course.magnetic"), Column(4, "speed")),
    # Heading and steering.
    "HDT": (Column(0, "heading"),),
    "HDM": (Column(0, "heading.magnetic"),),
    "HDG": (
        Column(0, "heading.magnetic"), Column(1, "deviation", sided=True),
        Column(3, "variation", sided=True),
    ),
    "ROT": (_valid(1), Column(0, "turn_rate")),
    "RSA": (_valid(1), Column(0, "rudder")),
    # Water.
    "DBT": (Column(2, "depth"),),
    "DBK": (Column(2, "depth.below_keel"),),
    "DBS": (Column(2, "depth.below_surface"),),
    "DPT": (Column(0, "depth"), Column(1, "depth.offset")),
    "MTW": (Column(0, "water.temperature"),),
    "VHW": (
        Column(0, "heading"), Column(2, "heading.magnetic"), Column(4, "water.speed"),
    ),
    "VLW": (Column(0, "log.total"), Column(2, "log.trip")),
    # Air.
    "MTA": (Column(0, "air.temperature"),),
    "MMB": (Column(2, "air.pressure", 1_000.0),),
    "MWD": (
        Column(0, "wind.direction"), Column(2, "wind.direction.magnetic"), Column(4, "wind.speed"),
    ),
    "MDA": (
        Column(2, "air.pressure", 1_000.0), Column(4, "air.temperature"),
        Column(6, "water.temperature"), Column(8, "air.humidity"), Column(10, "air.dew_point"),
        Column(12, "wind.direction"), Column(14, "wind.direction.magnetic"),
        Column(16, "wind.speed"),
    ),
}  # fmt: skip

UNITS = {
    "latitude": "°", "longitude": "°", "altitude": "m", "geoid": "m", "dgps.age": "s",
    "speed": "kn", "course": "°", "course.magnetic": "°", "variation": "°", "deviation": "°",
    "heading": "°", "heading.magnetic": "°", "turn_rate": "°/min", "rudder": "°",
    "depth": "m", "depth.below_keel": "m", "depth.below_surface": "m", "depth.offset": "m",
    "water.temperature": "°C", "water.speed": "kn", "log.total": "nmi", "log.trip": "nmi",
    "air.temperature": "°C", "air.pressure": "hPa", "air.humidity": "%", "air.dew_point": "°C",
    "wind.direction": "°", "wind.direction.magnetic": "°", "wind.speed": "kn",
    "wind.true.angle": "°", "wind.true.speed": "kn", "wind.relative.angle": "°",
    "wind.relative.speed": "kn", "engine.*.rpm": "1/min", "engine.*.pitch": "%",
    "shaft.*.rpm": "1/min", "shaft.*.pitch": "%",
}  # fmt: skip
"""Units by metric, or by a pattern of metrics."""
