"""Line protocol is read as InfluxDB reads it, and never anything but a point or a DecodeError."""

import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from influxdb_client import Point as TheirPoint
from influxdb_client import WritePrecision

from gateway.codecs.line_parser import FACTORS, MOST_LINE, LineParser, Lines, Point, Refused
from gateway.codecs.line_protocol import LineEncoder
from gateway.codecs.reports import LATEST, MAX_NAME, MAX_TEXT
from gateway.core.contracts import Reading, Value
from gateway.core.errors import DecodeError
from tests.support.faults import runs

PARSER = LineParser()


@pytest.mark.parametrize(
    ("line", "point"),
    [
        ("m f=1", Point("m", {}, None, {"f": 1.0})),
        ("m,a=b,c=d f=1,g=2i 5", Point("m", {"a": "b", "c": "d"}, 5, {"f": 1.0, "g": 2})),
        # From the reference: escapes in measurement, tags, field keys, texts.
        (r"my\ M fieldKey=\"", None),
        (r'my\ M key="string value"', Point("my M", {}, None, {"key": "string value"})),
        (r'm k="\"string\" within"', Point("m", {}, None, {"k": '"string" within'})),
        (r"m,tag\ Key1=tag\ Value1 k=1", Point("m", {"tag Key1": "tag Value1"}, None, {"k": 1.0})),
        ('m,k=🍭 f="Launch 🚀" 5', Point("m", {"k": "🍭"}, 5, {"f": "Launch 🚀"})),
        (r"a\,b\=c k\=1\,2=3", Point(r"a,b\=c", {}, None, {"k=1,2": 3.0})),
        (r'm f="a\\b\n"', Point("m", {}, None, {"f": "a\\b\\n"})),
        (r'm f="ends with \\"', Point("m", {}, None, {"f": "ends with \\"})),
        ('m f=""', Point("m", {}, None, {"f": ""})),
        ("m f=-1.234456e+78", Point("m", {}, None, {"f": -1.234456e78})),
        ("m f=.5,g=5.,h=+1", Point("m", {}, None, {"f": 0.5, "g": 5.0, "h": 1.0})),
        ("m f=-9223372036854775808i", Point("m", {}, None, {"f": -(2**63)})),
        ("m f=9223372036854775807u", Point("m", {}, None, {"f": 2**63 - 1})),
        ("m a=t,b=T,c=true,d=True,e=TRUE", Point("m", {}, None, dict.fromkeys("abcde", True))),
        ("m a=f,b=F,c=false,d=False,e=FALSE", Point("m", {}, None, dict.fromkeys("abcde", False))),
        ("m f=1  7  ", Point("m", {}, 7, {"f": 1.0})),
        ("m   f=1", Point("m", {}, None, {"f": 1.0})),
        ("m f=1,f=2", Point("m", {}, None, {"f": 2.0})),
        ("m", None), ("", None), ("m ", None), (",a=b f=1", None), ("m f", None), ("m f=", None),
        ("m =1", None), ("m f=1,", None), ("m f=1,,g=2", None), ("m, f=1", None), ("m,a f=1", None),
        ("m,a= f=1", None), ("m,=b f=1", None), ("m f=abc", None), ("m f=nan", None),
        ("m f=inf", None), ("m f=1e999", None), ("m f=1_0", None), ("m f=0x10", None),
        ("m f=9223372036854775808i", None), ("m f=-1u", None), ("m f=1.5i", None),
        ("m f=18446744073709551615u", None), ("m f=tRUE", None), ('m f="a', None),
        ('m f="a"b', None), ("m f=1 x", None), ("m f=1 5 6", None), ("m f=1 1.5", None),
        ("m f=1 -5", None), (f"m f=1 {LATEST}", None), ("m f=1 99999999999999999999", None),
        (r"m a\=1", None), ("m f=1 g=2", None),
    ],
)  # fmt: skip
def test_examples(line: str, point: Point | None) -> None:
    if point is None:
        with pytest.raises(DecodeError):
            PARSER.parse(line.encode())
        return
    found = PARSER.parse(line.encode())
    assert found == point
    assert [*map(type, found.values.values())] == [*map(type, point.values.values())]


def test_limits() -> None:
    for line, reason in [
        (f'm f="{"x" * (MAX_TEXT + 1)}"', "text"),
        (f"m {'k' * (MAX_NAME + 1)}=1", "metric"),
        ("m a\tb=1", "metric"),
        ("m " + ",".join(f"k{n}=1" for n in range(1_001)), "too_many"),
        (f'm f="{"x" * MOST_LINE}"', "too_long"),
    ]:
        with pytest.raises(DecodeError) as caught:
            PARSER.parse(line.encode())
        assert caught.value.reason == reason
    with pytest.raises(DecodeError):
        PARSER.parse(b"m f=\xff")


@pytest.mark.parametrize("unit", FACTORS)
def test_precision(unit: Any) -> None:
    assert LineParser(unit).parse(b"m f=1 1600000000").time == 1_600_000_000 * FACTORS[unit]


# What our names may be; a backslash at the end cannot be written (see the encoder).
names = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.sampled_from(" ,=\\\"'"),
    min_size=1,
    max_size=12,
).filter(lambda name: not name.endswith("\\") and name.isprintable() and not name.startswith("#"))
texts = st.text(st.characters(codec="utf-8"), max_size=20)
values = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    texts,
)
reports = st.dictionaries(names.filter(lambda name: name != "time"), values, min_size=1, max_size=5)
times = st.integers(0, LATEST - 1)


@given(
    names.filter(
        lambda name: not set("{} ") & set(name[:1]) and "{" not in name and "}" not in name
    ),
    reports,
    times,
)
def test_what_our_encoder_writes_comes_back(name: str, report: dict[str, Value], at: int) -> None:
    encoder = LineEncoder(name, {"tag": name}, {})
    [line], unfit = encoder.lines([Reading("d", at, report)])
    assert not unfit
    point = LineParser().parse(line.encode())
    assert point == Point(name, {"tag": name}, at, report)
    assert [*map(type, point.values.values())] == [*map(type, report.values())]


@given(st.lists(st.tuples(reports, times), max_size=5), st.integers(1, 40))
def test_pieces_make_no_difference(said: list[tuple[dict[str, Value], int]], size: int) -> None:
    encoder = LineEncoder("{device}", {}, {})
    lines, _ = encoder.lines([Reading("d", at, report) for report, at in said])
    data = "\n".join(lines).encode()
    reader = Lines(LineParser())
    found = [p for at in range(0, len(data), size) for _, p in reader.feed(data[at : at + size])]
    found += [p for _, p in reader.feed(b"", last=True)]
    assert found == [Point("d", {}, at, report) for report, at in said]


@given(names, names, names, values, times)
def test_what_influxdbs_client_writes_is_understood(
    name: str, tag: str, field: str, value: Value, at: int
) -> None:
    point = TheirPoint(name).tag(tag, "v").field(field, value).time(at, WritePrecision.NS)
    found = LineParser().parse(point.to_line_protocol().encode())
    assert (found.measurement, found.tags, found.time) == (name, {tag: "v"}, at)
    [(key, said)] = found.values.items()
    assert key == field
    # Their client writes numpy's shortest form of a float.
    assert said == value
    assert isinstance(said, bool) == isinstance(value, bool)


tokens = (
    st.lists(
        st.sampled_from(
            [
                "m",
                " ",
                ",",
                "=",
                '"',
                "\\",
                "\n",
                "1",
                "1i",
                "5u",
                "t",
                "#",
                ".",
                "e9",
                "-",
                "ü",
                "\r",
                "\0",
                "\t",
            ]
        ),
        max_size=40,
    )
    .map("".join)
    .map(str.encode)
)


@pytest.mark.timeout(1_200)
@settings(max_examples=runs(500, 100_000), deadline=None)
@given(st.one_of(st.binary(max_size=80), tokens))
@example(b"m " + b"\\" * 200_000)
@example(b"m " + b"k=1," * 250_000)
@example(b'm f="' + b'\\"' * 500_000)
@example(b"m f=" + b"9" * 1_000_000)
@example(b"m f=1 " + b"9" * 1_000_000)
@example(b"m," + b"a=b," * 250_000 + b" f=1")
@example(b" " * 1_000_000 + b"f=1")
@example(b"m" + b" " * 1_000_000 + b"=")
@example(b"m,=" + b"\\ " * 500_000)
@example(b'm f="' + b"\n" * 1_000_000)
def test_garbage_is_refused_in_no_time(line: bytes) -> None:
    # Twice: a collection of garbage may come in between.
    assert parsed(line) < 0.05 or parsed(line) < 0.05


def parsed(line: bytes) -> float:
    """How long it took (s of CPU)."""
    began = time.thread_time()
    try:
        point = LineParser().parse(line)
    except DecodeError as error:
        said = str(error)
    else:
        said = str(len(point.values))
    took = time.thread_time() - began
    assert 0 < len(said) < 200
    return took


@pytest.mark.timeout(1_200)
@settings(max_examples=runs(200, 100_000), deadline=None)
@given(st.lists(st.one_of(tokens, st.binary(max_size=40)), max_size=6))
@example([b'm f="a\n' * 3_000])
@example([b'm f="\n' + b'\\"\n' * 3_000, b'm f="\n' + b"\n" * 3_000])
@example([b"m" * 700_000, b"m" * 700_000, b"\nm f=1\n"])
def test_no_bytes_upset_the_reader(pieces: list[bytes]) -> None:
    reader = Lines(LineParser())
    for piece in [*pieces, b'\nlast,"="=1 f=1 1\n']:
        for number, said in reader.feed(piece):
            assert number > 0
            assert isinstance(said, Point | Refused)
    assert not [*reader.feed(b"", last=True)]


def feed(data: bytes) -> list[tuple[int, Any]]:
    reader = Lines(LineParser())
    return [*reader.feed(data), *reader.feed(b"", last=True)]


def test_a_bad_line_costs_no_other() -> None:
    found = feed(b'# c\n\na f=1 1\r\nb f=\nc f="x\ny" 3\nd f="open\ne f=2 5\nf f="z" 6\n g f=1 7')
    refused = {number: said.reason for number, said in found if isinstance(said, Refused)}
    assert refused == {4: "malformed", 7: "text"}
    points = {number: said for number, said in found if isinstance(said, Point)}
    assert {number: point.measurement for number, point in points.items()} == {
        3: "a", 5: "c", 8: "e", 9: "f", 10: "g",
    }  # fmt: skip
    assert points[5].values == {"f": "x\ny"}


def test_a_line_without_end_is_passed_over() -> None:
    found = feed(b"m" * (MOST_LINE + 2) + b" f=1\nb f=1 1\n")
    assert [number for number, _ in found] == [1, 2]
    assert isinstance(found[0][1], Refused)
    assert found[1][1].measurement == "b"
