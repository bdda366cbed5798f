"""What is imported is in history, once, however often it is imported."""

import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.contracts import Reading
from gateway.core.errors import Unavailable
from gateway.io.sqlite.database import Database
from gateway.store.devices import Devices
from gateway.store.exporting import Export, Selection
from gateway.store.history import History
from gateway.store.importing import Import, Options
from gateway.store.integrity import check
from gateway.store.taking import MOST_SETS

NOW = time.time_ns() // 10**9 * 10**9
MONTH = 30 * 86_400.0
Opened = Callable[[], Database]


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[History]:
    history = History(tmp_path, MONTH)
    yield history
    await history.close()


@pytest.fixture
def devices(opened: Opened) -> Devices:
    return Devices(opened(), limit=20, series=40)


async def take(history: History, devices: Devices, data: str, **options: Any) -> dict[str, Any]:
    taking = Import(history, devices, Options(**options))
    await taking.feed(data.encode())
    await taking.feed(b"", last=True)
    return taking.counts.told()


async def lines(history: History) -> list[str]:
    export = Export(history, Selection(form="line"))
    return b"".join([piece.data async for piece in export.pieces()]).decode().splitlines()


def many(count: int, device: str = "a", metrics: str = "x={n}.5,y={n}i") -> list[str]:
    return [f"{device} {metrics.format(n=n)} {NOW - (count - n) * 10**9}" for n in range(count)]


async def test_twice_is_once(history: History, devices: Devices) -> None:
    data = many(3_000) + many(5, "b", 's="t{n}",ok=true')
    told = await take(history, devices, "\n".join(data))
    assert (told["lines"], told["stored"], told["known"], told["refused"]) == (3_005, 3_005, 0, 0)
    assert await lines(history) == data
    again = await take(history, devices, "\n".join(data))
    assert (again["stored"], again["known"]) == (0, 3_005)
    assert await lines(history) == data
    assert [each["count"] for each in await history.series("a")] == [3_000, 3_000]


async def test_what_is_only_in_a_buffer_is_known(history: History, devices: Devices) -> None:
    device = devices.id_of("a", "mqtt")
    history.add(1, [Reading(device, NOW - n, {"x": float(n)}) for n in range(2_000)])
    data = [f"a x={n}.0 {NOW - n}" for n in range(2_000)]
    told = await take(history, devices, "\n".join(data))
    assert (told["stored"], told["known"]) == (0, 2_000)


async def test_another_value_or_type_at_one_time_is_no_repeat(
    history: History, devices: Devices
) -> None:
    await take(history, devices, f"a x=1 {NOW}")
    for value in ("2", "1i", "true", '"1"'):
        assert (await take(history, devices, f"a x={value} {NOW}"))["stored"] == 1
        assert (await take(history, devices, f"a x={value} {NOW}"))["known"] == 1


async def test_part_of_a_report_is_not_doubled(history: History, devices: Devices) -> None:
    data = many(1_500)
    await take(history, devices, "\n".join(data))
    # What an export of one metric gives, and then one with a metric more.
    told = await take(history, devices, "\n".join(many(1_500, metrics="x={n}.5")))
    assert (told["stored"], told["known"]) == (0, 1_500)
    told = await take(history, devices, "\n".join(many(1_500, metrics="y={n}i,z={n}.5")))
    assert (told["stored"], told["known"]) == (1_500, 0)
    counts = {each["metric"]: each["count"] for each in await history.series("a")}
    assert counts == {"x": 1_500, "y": 1_500, "z": 1_500}


async def test_equal_lines_of_one_file_are_kept(history: History, devices: Devices) -> None:
    data = [f"a x=1.0 {NOW}"] * 2_500
    assert (await take(history, devices, "\n".join(data)))["stored"] == 2_500
    assert (await take(history, devices, "\n".join(data)))["stored"] == 0
    assert await lines(history) == data


async def test_a_broken_off_import_goes_on(history: History, devices: Devices) -> None:
    data = "\n".join(many(5_000)).encode()
    first = Import(history, devices, Options())
    await first.feed(data[: len(data) // 2])
    stored = first.counts.told()["stored"]
    assert stored == 2_500 // 1_024 * 1_024 or stored > 1_024
    told = await take(history, devices, data.decode())
    assert (told["stored"], told["known"]) == (5_000 - stored, stored)
    assert await lines(history) == data.decode().splitlines()


async def test_what_is_told_as_stored_is_there_after_a_kill(
    history: History, devices: Devices, tmp_path: Path
) -> None:
    taking = Import(history, devices, Options())
    await taking.feed("\n".join(many(2_500)).encode() + b"\n")
    assert taking.counts.stored == 2_048 or taking.counts.stored == 2_500
    with sqlite3.connect(tmp_path / "history.db") as c:
        (count,) = c.execute("SELECT sum(count) FROM chunk").fetchone()
    assert count == taking.counts.stored


async def test_live_readings_of_the_same_stream_go_on(
    history: History, devices: Devices, tmp_path: Path
) -> None:
    device = devices.id_of("a", "mqtt")
    history.add(1, [Reading(device, NOW + n, {"x": float(n)}) for n in range(10)])
    await take(history, devices, "\n".join(many(3_000, metrics="x={n}.5")))
    history.add(11, [Reading(device, NOW + n, {"x": float(n)}) for n in range(10, 3_000)])
    await history.flush()
    assert (await history.series("a"))[0]["count"] == 6_000
    assert len(await lines(history)) == 6_000
    await history.close()
    again = History(tmp_path, MONTH)
    # Nothing that the journal has already given is taken a second time.
    again.add(1, [Reading(device, NOW + n, {"x": float(n)}) for n in range(3_000)])
    assert (await again.series("a"))[0]["count"] == 6_000
    assert again.position == again.reached == 3_001
    await again.close()
    assert not check(tmp_path, lambda *_: None).findings


async def test_no_sequence_of_the_journal_is_claimed(
    history: History, devices: Devices, tmp_path: Path
) -> None:
    history.add(1, [Reading(devices.id_of("a", "mqtt"), NOW, {"x": 1.0})])
    await history.flush()
    for device in "abc":
        await take(history, devices, "\n".join(many(3_000, device)))
    with sqlite3.connect(tmp_path / "history.db") as c:
        spans = c.execute("SELECT first_seq, last_seq FROM chunk ORDER BY id").fetchall()
    assert spans == [(1, 1), *((-n, -n) for n in range(1, 7))]


reports = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.integers(0, 20),
        st.sets(st.sampled_from("xyz"), min_size=1),
        st.integers(0, 2),
    ),
    max_size=40,
)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(reports, reports)
async def test_history_is_the_union(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[tuple[str, int, set[str], int]],
    then: list[tuple[str, int, set[str], int]],
) -> None:
    directory = tmp_path_factory.mktemp("any")
    history = History(directory, MONTH)
    state = Database(directory / "state.db", _migrations())
    devices = Devices(state)

    def text(reports: list[tuple[str, int, set[str], int]]) -> str:
        return "\n".join(
            f"{device} {','.join(f'{m}={value}' for m in sorted(metrics))} {NOW - second * 10**9}"
            for device, second, metrics, value in reports
        )

    def values(reports: list[tuple[str, int, set[str], int]]) -> list[tuple[str, str, int, float]]:
        return sorted(
            (device, metric, NOW - second * 10**9, float(value))
            for device, second, metrics, value in reports
            for metric in metrics
        )

    await take(history, devices, text(before))
    await take(history, devices, text(then))
    had = set(values(before))
    expected = sorted(values(before) + [each for each in values(then) if each not in had])
    got = []
    for each in await history.series():
        points = await history.query(each["device"], each["metric"], 0, 2**62)
        got += [(each["device"], each["metric"], ms * 10**6, value) for ms, value in points]
    assert sorted(got) == expected
    await history.close()
    state.close()


def _migrations() -> Any:
    from importlib.resources import files

    return files("gateway.store") / "migrations" / "state"


async def test_limits_hold(history: History, devices: Devices) -> None:
    too_old = NOW - int((MONTH + 60) * 1e9)
    told = await take(history, devices, "\n".join([
        f"a {','.join(f'm{n}=1' for n in range(41))} {NOW}",  # series of one device
        *(f"d{n} x=1 {NOW}" for n in range(21)),
        f"d0 x=1 {too_old}",
        f"d0 x=1 {NOW + 2 * 86_400 * 10**9}",
        f'd0 x="{"t" * 1_025}" {NOW}',
        f"{'n' * 257} x=1 {NOW}",
        f"... x=1 {NOW}",
        f"d0,site=home x=1 {NOW}",
        "nonsense",
        f"d1 y=1 {NOW}",
    ]))  # fmt: skip
    assert told["reasons"] == {
        "too_many_series": 1, "too_many_devices": 2, "old": 1, "time": 1, "text": 1,
        "device": 2, "tag": 1, "malformed": 1,
    }  # fmt: skip
    assert told["stored"] == 20
    assert [(line["line"], line["reason"]) for line in told["wrong"][:2]] == [
        (1, "too_many_series"), (21, "too_many_devices"),
    ]  # fmt: skip
    assert len(told["wrong"]) == 10


async def test_many_sets_of_metrics_are_kept_apart(history: History, devices: Devices) -> None:
    sets = [f"a m{n % 30}=1.0,m{n % 29 + 1}={n}.0,x=2.0 {NOW - n}" for n in range(MOST_SETS + 40)]
    told = await take(history, devices, "\n".join(sets))
    assert told["stored"] == told["lines"]
    assert (await take(history, devices, "\n".join(sets)))["known"] == told["lines"]
    assert len(await history.query("a", "x", 0, 2**62)) == len(sets)


async def test_which_device_is_meant(history: History, devices: Devices) -> None:
    mqtt = devices.id_of("Soil 4", "mqtt")
    assert mqtt == "soil-4"
    data = [f"soil-4 x=1 {NOW}", f"Soil\\ 4 x=2 {NOW}", f"Püm\\,p x=3 {NOW}", f"gateway x=4 {NOW}"]
    assert (await take(history, devices, "\n".join(data)))["refused"] == 0
    assert {each["device"] for each in await history.series()} == {"soil-4", "pum-p", "gateway-2"}
    assert devices.get("pum-p").original == "Püm,p"


async def test_a_device_takes_up_its_imported_history(
    history: History, devices: Devices, opened: Opened
) -> None:
    await take(history, devices, f"soil-4 x=1 {NOW}\npump x=1 {NOW}")
    assert devices.get("soil-4").source == "import"
    assert devices.id_of("Soil 4", "mqtt") == "soil-4"
    assert devices.id_of("Soil-4", "mqtt") == "soil-4-2"  # the first that comes
    assert devices.id_of("soil-4", "import") == "soil-4"
    await devices.save()
    devices.database.close()
    again = Devices(opened())
    assert again.id_of("Soil 4", "mqtt") == "soil-4"
    assert again.get("soil-4").source == "mqtt"
    assert again.id_of("pump", "mqtt") == "pump"


async def test_tags(history: History, devices: Devices) -> None:
    told = await take(
        history, devices,
        f"cpu,host=Pi,site=home load=1,value=2 {NOW}\nheat value=3 {NOW}",
        device_tag="host", drop_tags=True,
    )  # fmt: skip
    assert told["reasons"] == {"device": 1}
    found = {(each["device"], each["metric"]) for each in await history.series()}
    assert found == {("pi", "cpu.load"), ("pi", "cpu")}


async def test_lines_without_a_time_get_ours(history: History, devices: Devices) -> None:
    assert (await take(history, devices, "a x=1\na x=2\na x=3"))["stored"] == 3
    points = await history.query("a", "x", 0, 2**62)
    assert [value for _, value in points] == [1.0, 2.0, 3.0]
    assert abs(points[0][0] - time.time() * 1_000) < 60_000
    stamps = [int(line.rsplit(" ")[-1]) for line in await lines(history)]
    assert len(set(stamps)) == 3


async def test_a_disk_that_refuses_is_told(
    history: History, devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking = Import(history, devices, Options())

    async def refuse(_: Any) -> Any:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(history.database, "write", refuse)
    with pytest.raises(Unavailable, match="disk is full"):
        await taking.feed("\n".join(many(3_000)).encode())
    assert taking.counts.stored == 0
