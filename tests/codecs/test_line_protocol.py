"""Lines of plain numbers, which are written together, are those that one by one are written."""

import math

from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.line_protocol import LineEncoder
from gateway.core.contracts import Flag, Reading

names = st.sampled_from(["a", "b c", "50%", "d,e", "%s"])
numbers = st.floats(allow_nan=True, allow_infinity=True)
values = st.dictionaries(names, numbers, max_size=4)
readings = st.builds(
    Reading,
    device=st.sampled_from(["pump", "x-1"]),
    time=st.integers(-(2**63), 2**63 - 1),
    values=values,
    flags=st.sampled_from([0, Flag.UNSYNCED.value]),
)


def parsed(line: str) -> tuple[str, dict[str, float], str]:
    """Measurement and tags, fields, time; of lines whose names have no space within."""
    head, fields, time = line.replace("\\ ", "_").replace("\\,", "_").split(" ")
    pairs = (field.split("=") for field in fields.split(","))
    return head, {name: float(value) for name, value in pairs}, time


@given(st.lists(readings, max_size=8))
def test_together_is_as_one_by_one(batch: list[Reading]) -> None:
    tags = {"site": "100%"}
    lines, unfit = LineEncoder("{device}", tags, {}).lines(batch)
    singly = LineEncoder("{device}", tags, {})
    for place, reading in enumerate(batch):
        # A text keeps it from being written together with others; it is taken off again.
        odd = Reading(reading.device, reading.time, reading.values | {"t": "x"}, reading.flags)
        ((line,), why) = singly.lines([odd])
        finite = {n: v for n, v in reading.values.items() if math.isfinite(v)}  # type: ignore[arg-type]
        if why or not finite:
            assert place in unfit
            assert lines[place] == ""
            continue
        want = line.replace(',t="x"', "").replace('t="x",', "")
        assert parsed(lines[place]) == parsed(want)


def test_a_reading_without_values_is_refused_alone() -> None:
    full = Reading("d", 2, {"a": 1.0})
    empty = Reading("d", 1, {})
    for batch, bad in (([empty, full], 0), ([full, empty], 1), ([empty], 0)):
        lines, unfit = LineEncoder("{device}", {}, {}).lines(batch)
        assert list(unfit) == [bad]
        assert [line for line in lines if line] == ["d a=1.0 2"][: len(batch) - 1]


def test_forms_do_not_fill_memory() -> None:
    """Each set of metrics is a form of its own, which may never be used again."""
    encoder = LineEncoder("{device}", {}, {})
    for number in range(3_000):
        values = {f"m{n}": 1.0 for n in range(number % 50, number % 50 + 100 - number % 7)}
        encoder.lines([Reading(f"d{number}", number, values)])
    assert sum(len(n) * len(f) for n, f in encoder._forms.items()) <= 200_000
