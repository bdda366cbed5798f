"""What `berrygate top` makes of two answers of the gateway."""

from pathlib import Path
from typing import Any

import pytest

from gateway.cli.top.figures import Figures
from gateway.cli.top.text import Column, clip, flow, table, width
from tests.support.small_house import SmallHouse


def answer(at: float, **changes: Any) -> dict[str, Any]:
    """What the gateway answers at a time (s)."""
    found = SmallHouse().overview("rate", "", 50, 0)
    return {**found, "at": at, "uptime": 100.0 + at, **changes}


def journal(appended: int) -> dict[str, Any]:
    return {**answer(0)["journal"], "appended": appended}


def process(cpu: float, written: int | None) -> dict[str, Any]:
    return {"pid": 1, "rss": 5, "cpu": cpu, "written": written}


def test_rates_are_differences_between_two_answers() -> None:
    figures = Figures()
    first = figures.take(answer(0, journal=journal(1_000), process=process(1.0, 4_096)))
    assert first["in"] is None
    assert first["bridges"][0]["rate"] is None
    assert first["journal"]["per_day"] is None
    later = answer(2, journal=journal(5_000), process=process(1.5, 12_288))
    later["sources"][0]["received"] += 30
    later["bridges"][0]["delivered"] += 8
    found = figures.take(later)
    assert found["in"] == 15
    assert found["bridges"][0]["rate"] == 4
    assert found["journal"]["written"] == 2_000
    assert found["journal"]["per_day"] == 2_000 * 86_400
    assert found["disk"]["written"] == 4_096
    assert found["process"]["cpu_percent"] == 25


def test_old_answers_count_no_more() -> None:
    figures = Figures()
    for second in range(20):
        last = answer(second, journal=journal(1_000 * min(second, 10)))
        found = figures.take(last)
    assert found["journal"]["written"] == 0


def test_a_restart_is_no_negative_rate() -> None:
    figures = Figures()
    figures.take(answer(50, journal=journal(9_000)))
    again = {**answer(52, journal=journal(10)), "uptime": 1.0}
    assert figures.take(again)["journal"]["written"] is None
    assert figures.take({**answer(53, journal=journal(30)), "uptime": 2.0})["journal"][
        "written"
    ] == pytest.approx(20)


def test_the_hottest_sensor_is_told(tmp_path: Path) -> None:
    assert Figures(tmp_path).take(answer(0))["machine"]["temperature"] is None
    for number, celsius in enumerate((41_000, 58_300)):
        zone = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(f"zone-{number}\n")
        (zone / "temp").write_text(f"{celsius}\n")
    assert Figures(tmp_path).take(answer(0))["machine"]["temperature"] == 58.3


def test_what_the_kernel_does_not_tell_is_not_zero() -> None:
    figures = Figures()
    figures.take(answer(0, process=process(1.0, None)))
    assert figures.take(answer(1, process=process(1.0, None)))["disk"]["written"] is None


@pytest.mark.parametrize("room", [0, 1, 5, 20, 60, 300])
def test_texts_and_tables_fit(room: int) -> None:
    text = "pump 日本 é̀ 12"
    assert width(clip(text, room)) <= max(room, 0)
    columns = [Column("NAME"), Column("STATE", rank=1), Column("N", rank=2, right=True), Column("")]
    for row in (("日本" * 20, "ok", "1", "why " * 30), ("b", "failing", "12,345", "")):
        for column, cell in zip(columns, row, strict=True):
            column.cells.append((cell, ""))
    lines = table(columns, room)
    assert len(lines) == 3
    wide = {sum(width(text) for text, _ in line) for line in lines}
    assert len(wide) == 1
    if room >= 20:
        assert wide.pop() <= room
    assert flow([[("a" * 10, "")], [("b" * 10, "")]], 22) == [
        [("a" * 10, ""), ("  ", ""), ("b" * 10, "")]
    ]
    assert len(flow([[("a" * 10, "")], [("b" * 10, "")]], 21)) == 2
