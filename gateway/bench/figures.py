"""What a run found: figures, each with its unit and what it means, or why it is not known."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure. key: its name in JSON. missing: why there is no value."""

    key: str
    title: str
    value: float | None
    unit: str
    meaning: str
    missing: str = ""


@dataclass(slots=True)
class Report:
    """Everything a run found. machine, setting: what was measured on, and with what. counts: how
    many messages each place had in the end, by place. lost: those that were acknowledged to the
    publisher and are missing at some place, by place. notes: what makes figures doubtful."""

    machine: dict[str, Any]
    setting: dict[str, Any]
    figures: list[Figure] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(
        self, key: str, title: str, value: float | None, unit: str, meaning: str, missing: str = ""
    ) -> None:
        """A figure more."""
        self.figures.append(Figure(key, title, value, unit, meaning, missing))

    def value(self, key: str) -> float | None:
        """The value of a figure; None where it is not known."""
        return next((each.value for each in self.figures if each.key == key), None)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "machine": self.machine,
            "setting": self.setting,
            "figures": {
                figure.key: {
                    "value": figure.value,
                    "unit": figure.unit,
                    "meaning": figure.meaning,
                    **({"missing": figure.missing} if figure.missing else {}),
                }
                for figure in self.figures
            },
            "counts": self.counts,
            "lost": self.lost,
            "notes": self.notes,
        }


def percentiles(values: list[float], *shares: float) -> list[float | None]:
    """The values below which these shares of all values lie; None where there are none."""
    ordered = sorted(values)
    if not ordered:
        return [None] * len(shares)
    return [ordered[min(int(share * len(ordered)), len(ordered) - 1)] for share in shares]
