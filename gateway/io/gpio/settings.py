"""One thing at the GPIO header, as configured: what it is, and at which pin."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from gateway.core.settings import Duration, Settings, wrong
from gateway.io.gpio.names import PinNumber

SWITCHES = ("button", "contact", "motion")
OUTPUTS = ("led", "relay", "pwm", "servo")
_DIGITAL = ("led", "relay")
_DEBOUNCE = {"button": 0.02, "contact": 0.05}
_DWELL = {"relay": 1.0}
_PULLED = ("button", "contact", "encoder", "counter")
_IN, _ONE = ("pull", "active", "debounce"), ("pin",)
_OUT = ("active", "initial", "safe", "on_loss", "loss_after", "dwell", "lease")
_KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "button": (_ONE, (*_IN, "hold", "double")),
    "contact": (_ONE, _IN),
    "motion": (_ONE, _IN),
    "distance": (("trigger", "echo"), ("interval", "samples", "range")),
    "encoder": (("a", "b"), ("pull",)),
    "counter": (_ONE, (*_IN, "interval", "per_unit", "unit", "per", "rate_unit", "start")),
    "led": (_ONE, _OUT),
    "relay": (_ONE, _OUT),
    "pwm": (_ONE, (*_OUT, "frequency")),
    "servo": (_ONE, (*(k for k in _OUT if k != "active"), "min_angle", "max_angle",
                     "min_pulse", "max_pulse")),
}  # fmt: skip
"""The keys of each kind: those it needs, and those it may have besides."""

Level = bool | float | Literal["on", "off", "last", "free"]


class PinSettings(Settings):
    """One thing at the GPIO header. Which keys it has depends on its kind."""

    kind: Literal[
        "button", "contact", "motion", "distance", "encoder", "counter", "led", "relay", "pwm",
        "servo",
    ]  # fmt: skip
    """What it is."""
    pin: PinNumber | None = None
    """Its pin: `17` and `GPIO17` are the GPIO number, `BOARD11` is the place on the header."""
    trigger: PinNumber | None = None
    """The pin that starts a measurement (distance)."""
    echo: PinNumber | None = None
    """The pin that the echo comes to, through a voltage divider (distance)."""
    a: PinNumber | None = None
    """The first pin of two (encoder)."""
    b: PinNumber | None = None
    """The second pin of two (encoder)."""
    pull: Literal["up", "down", "none"] | None = None
    """The Pi's own resistor at an input: up for what closes to ground, down or none for what
    gives a voltage. By default up; for motion down."""
    active: Literal["high", "low"] | None = None
    """The level at which an input is pressed, closed, moving or pulsing, and an output on. By
    default low for inputs that are pulled up, else high."""
    debounce: Duration | None = None
    """How long a level must last to count (button 20ms, contact 50ms, others 0)."""
    hold: Annotated[Duration, Field(gt=0)] = 1.0
    """After so long it is held (button)."""
    double: Duration = 0.4
    """Two presses within so long are a double one; 0: never (button)."""
    interval: Annotated[Duration, Field(ge=0.1)] | None = None
    """How often it is measured (distance, 1s), or told (counter, 10s)."""
    samples: Annotated[int, Field(ge=1, le=25)] = 5
    """Echoes of which the middle one is the distance (distance)."""
    range: Annotated[float, Field(gt=0, le=10)] = 4.0
    """What is further away than so many metres is no echo of ours (distance)."""
    per_unit: Annotated[float, Field(gt=0)] = 1.0
    """Pulses of one unit: 1000 for a meter that blinks 1000 times a kWh (counter)."""
    unit: Annotated[str, Field(max_length=20)] = ""
    """What is counted, such as kWh, L or m³ (counter)."""
    per: Literal["s", "m", "h"] = "h"
    """The rate is so much a second, minute or hour (counter)."""
    rate_unit: Annotated[str, Field(max_length=20)] | None = None
    """The rate's unit, where it has one of its own: kW for kWh an hour (counter)."""
    start: float = 0.0
    """What the meter showed when it was first connected (counter)."""
    initial: Level = "off"
    """Its state when the gateway starts: on, off or last, the one it was last told; for pwm and
    servo also a number; for servo free, without pulses, which is its default."""
    safe: Level = "off"
    """The state that can do no harm; for servo free by default."""
    on_loss: Literal["hold", "safe"] = "hold"
    """What happens when nobody can tell it anything any more: it stays as it is, or takes its
    safe state."""
    loss_after: Duration = 30.0
    """How long the broker must be away for that."""
    dwell: Duration | None = None
    """It is not switched again before so long (relay 1s, others 0)."""
    lease: Duration = 0.0
    """How long a command is good for; then it takes its safe state. 0: for ever."""
    frequency: Annotated[float, Field(ge=1, le=10_000)] = 100.0
    """Pulses a second, Hz (pwm)."""
    min_angle: Annotated[float, Field(ge=-360, le=360)] = -90.0
    """The angle at the shortest pulse, ° (servo)."""
    max_angle: Annotated[float, Field(ge=-360, le=360)] = 90.0
    """The angle at the longest pulse, ° (servo)."""
    min_pulse: Annotated[Duration, Field(ge=0.0002)] = 0.001
    """The shortest pulse (servo)."""
    max_pulse: Annotated[Duration, Field(le=0.01)] = 0.002
    """The longest pulse (servo)."""

    @field_validator("initial", "safe", mode="before")
    @classmethod
    def _level(cls, value: Any) -> Any:
        return {True: "on", False: "off"}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _fit(self) -> "PinSettings":
        needed, used = _KEYS[self.kind]
        for key in needed:
            if getattr(self, key) is None:
                raise wrong("kind", f"a {self.kind} needs {key}", f"add {key}:")
        for key in sorted(self.model_fields_set - {"kind", *needed, *used}):
            raise wrong(key, f"a {self.kind} has no {key}", "leave it out")
        if self.min_pulse >= self.max_pulse:
            raise wrong("min_pulse", "not shorter than max_pulse", "make it shorter")
        if self.min_angle == self.max_angle:
            raise wrong("max_angle", "the same as min_angle", "make it another one")
        if self.kind in OUTPUTS:
            self._fits("initial", last=True)
            self._fits("safe", last=False)
        if self.lease and self.lease <= self.least_dwell:
            raise wrong("lease", "not longer than dwell", "make it longer, or dwell shorter")
        return self

    def _fits(self, key: str, *, last: bool) -> None:
        if key not in self.model_fields_set:
            return
        value, words = getattr(self, key), ["last"] if last else []
        low, high = self.bounds
        if self.kind == "servo":
            words += ["free"]
        else:
            words += ["on", "off"]
        if isinstance(value, str) and value in words:
            return
        if not isinstance(value, str) and self.kind not in _DIGITAL and low <= value <= high:
            return
        numbers = "" if self.kind in _DIGITAL else f" or {low:g} to {high:g}"
        raise wrong(
            key, f'"{value}" is no state of a {self.kind}', f"{key}: {', '.join(words)}{numbers}"
        )

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest number that the output may be set to."""
        if self.kind == "servo":
            ends = sorted((self.min_angle, self.max_angle))
            return ends[0], ends[1]
        return 0.0, 100.0

    @property
    def pulled(self) -> str:
        """The resistor, in gpiozero's words."""
        pull = self.pull or ("up" if self.kind in _PULLED else "down")
        return "floating" if pull == "none" else pull

    @property
    def active_high(self) -> bool:
        """Whether the high level is the active one."""
        if self.active is not None:
            return self.active == "high"
        return self.kind in OUTPUTS or self.pulled != "up"

    @property
    def window(self) -> float:
        """How long a level must last to count (s)."""
        return _DEBOUNCE.get(self.kind, 0.0) if self.debounce is None else self.debounce

    @property
    def least_dwell(self) -> float:
        """How long it is not switched again (s)."""
        return _DWELL.get(self.kind, 0.0) if self.dwell is None else self.dwell

    @property
    def every(self) -> float:
        """How often it is measured or told (s)."""
        return self.interval or (1.0 if self.kind == "distance" else 10.0)

    @property
    def pins(self) -> Mapping[str, int]:
        """Its pins by their keys."""
        found = {key: getattr(self, key) for key in ("pin", "trigger", "echo", "a", "b")}
        return {key: number for key, number in found.items() if number is not None}

    @property
    def units(self) -> Mapping[str, str]:
        """Units of its metrics, by what stands behind its name."""
        if self.kind == "counter":
            rate = self.rate_unit or (f"{self.unit}/{self.per.replace('m', 'min')}")
            return {".total": self.unit, ".rate": rate} if self.unit else {}
        unit = {"distance": "m", "pwm": "%", "servo": "°"}.get(self.kind)
        return {"": unit} if unit else {}
