"""Frames are found whatever pieces the bytes come in, and again after rubbish."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.io.placeholders import fill, names_in
from gateway.io.serial.checksums import KINDS, crc16_modbus
from gateway.io.serial.framing import KEPT, Framing, Piece
from gateway.io.serial.framing_settings import FramingSettings
from gateway.io.serial.port import MOST
from gateway.io.serial.scanning import NOISE
from gateway.io.wire import wire_bytes
from tests.support.faults import FULL, runs, seeded

PMS: dict[str, Any] = {
    "type": "length",
    "size": 2,
    "start": "hex:42 4d",
    "checksum": {"type": "sum16"},
}
XBEE: dict[str, Any] = {
    "type": "length", "size": 2, "start": "~", "extra": 1,
    "checksum": {"type": "sum8-inverted", "skip": 3},
}  # fmt: skip
CRLF = {"type": "delimiter", "end": "\\r\\n"}
STX = {"type": "markers", "start": "\\x02", "end": "\\x03"}
ANGLES = {"type": "markers", "start": "<", "end": ">"}
EVERY: list[dict[str, Any]] = [
    {},
    {"max": "8B"},
    {"type": "lines", "gap": "20ms"},
    CRLF,
    {"type": "delimiter", "end": ";", "max": "8B"},
    {"type": "delimiter", "end": "aab", "max": "6B"},
    {"type": "fixed", "length": 4},
    {"type": "fixed", "length": 5, "start": "ab"},
    {"type": "fixed", "length": 5, "checksum": {"type": "xor"}},
    {"type": "length"},
    {"type": "length", "start": "a", "size": 2, "order": "little", "counts": "itself"},
    {"type": "length", "size": 4, "counts": "all", "max": "64B"},
    {"type": "length", "start": "a", "checksum": {"type": "crc16-modbus"}},
    {"type": "fixed", "length": 256, "checksum": {"type": "crc16-modbus"}},
    {"type": "fixed", "length": 512, "start": "a", "checksum": {"type": "crc16-modbus"}},
    PMS,
    XBEE,
    STX,
    {"type": "markers", "start": "ab", "end": "ba", "max": "8B"},
    {"type": "markers", "start": "a", "end": "b", "checksum": {"type": "sum8"}, "keep": True},
    {"type": "gap", "gap": "20ms", "max": "32B"},
]


def framing(**keys: Any) -> Framing:
    return FramingSettings.model_validate(keys).build()


def frames(found: Sequence[Piece]) -> list[bytes]:
    return [piece.payload for piece in found if not piece.fault]


def faults(found: Sequence[Piece]) -> list[tuple[str, bytes]]:
    return [(piece.fault, piece.payload) for piece in found if piece.fault]


def summed(kind: str, body: bytes) -> bytes:
    function, width, order = KINDS[kind]
    return body + function(body).to_bytes(width, order)


def pms(body: bytes) -> bytes:
    return summed("sum16", b"BM" + (len(body) + 2).to_bytes(2) + body)


def xbee(body: bytes) -> bytes:
    return b"~" + len(body).to_bytes(2) + body + bytes([0xFF - sum(body) % 256])


@pytest.mark.parametrize(
    ("kind", "check"),
    [("crc16-modbus", 0x4B37), ("crc16-ccitt", 0x29B1), ("crc16-xmodem", 0x31C3),
     ("xor", 0x31), ("sum8", 0xDD), ("sum8-inverted", 0x22), ("sum16", 0x1DD)],
)  # fmt: skip
def test_checksums_have_their_published_check_values(kind: str, check: int) -> None:
    assert KINDS[kind][0](b"123456789") == check


@given(st.binary(max_size=40))
def test_crc16_modbus_as_its_specification_has_it(data: bytes) -> None:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    assert crc16_modbus(data) == crc


def test_a_modbus_frame_of_the_specification() -> None:
    request = bytes.fromhex("0207")
    assert crc16_modbus(request) == 0x1241  # sent as 41 12


@pytest.mark.parametrize(
    ("keys", "stream", "expected"),
    [
        ({}, b"a\nb\r\nc\rd\n\r\n\ne", [b"a", b"b", b"c", b"d"]),
        ({"type": "delimiter", "end": "\\r"}, b"a\nb\rc\r\r", [b"a\nb", b"c"]),
        ({"type": "delimiter", "end": "||"}, b"a|b||c|||d||", [b"a|b", b"c", b"|d"]),
        ({"type": "fixed", "length": 3}, b"abcdefgh", [b"abc", b"def"]),
        ({"type": "fixed", "length": 4, "start": "AB"}, b"xABcdAxABefAB", [b"cd", b"ef"]),
        ({"type": "fixed", "length": 4, "start": "AB", "keep": True}, b"ABcd", [b"ABcd"]),
        ({"type": "length"}, b"\x02ab\x00\x03cde\x01", [b"ab", b"cde"]),
        ({"type": "length", "size": 2}, b"\x00\x02ab", [b"ab"]),
        ({"type": "length", "size": 2, "order": "little"}, b"\x02\x00ab", [b"ab"]),
        ({"type": "length", "size": 4}, b"\x00\x00\x00\x02ab", [b"ab"]),
        ({"type": "length", "counts": "itself"}, b"\x03ab", [b"ab"]),
        ({"type": "length", "counts": "all", "start": "S"}, b"S\x04ab", [b"ab"]),
        ({"type": "length", "extra": 2}, b"\x01a..\x01b--", [b"a..", b"b--"]),
        (STX, b"\x02a\x03..\x02b\x03", [b"a", b"b"]),
        (ANGLES, b"<a<b>c>", [b"b"]),
        (ANGLES | {"keep": True}, b"<a>", [b"<a>"]),
        (PMS, b"B" + pms(b"one") + b"junk" + pms(b"two"), [b"one", b"two"]),
        (XBEE, xbee(b"one") + b"~" + xbee(b"~~"), [b"one", b"~~"]),
    ],
)  # fmt: skip
def test_frames(keys: dict[str, Any], stream: bytes, expected: list[bytes]) -> None:
    assert frames(framing(**keys).feed(stream)) == expected


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_damaged_frame_is_told_of_and_the_next_one_found(kind: str) -> None:
    good = summed(kind, b"\x51\x82\x13\x77")
    bad = summed(kind, b"\x01\x02\x03\x04")
    bad = bytes([bad[0] ^ 0x10]) + bad[1:]
    found = framing(type="fixed", length=len(good), checksum={"type": kind}).feed(bad + good)
    assert frames(found) == [b"\x51\x82\x13\x77"]
    assert faults(found) == [("checksum", bad)]


def test_out_of_step_it_gets_into_step() -> None:
    frame = summed("crc16-modbus", b"\x07\x00\x10\x20")
    found = framing(type="fixed", length=6, checksum={"type": "crc16-modbus"}).feed(
        frame[2:] + frame * 3
    )
    assert frames(found) == [frame[:4]] * 3


def test_a_length_that_is_wrong_swallows_nothing_good() -> None:
    good = pms(b"value")
    broken = b"BM\x00\x40" + b"?"
    found = framing(**PMS).feed(broken + good * 20)
    assert frames(found) == [b"value"] * 20
    assert faults(found) == [("checksum", broken)]


@pytest.mark.parametrize(
    ("keys", "stream", "kept", "after"),
    [
        ({"max": "4B"}, b"abcdefgh\nok\n", b"abcd", [b"ok"]),
        (CRLF | {"max": "4B"}, b"abcd\r\nabcde\r\nok\r\n", b"abcd", [b"abcd", b"ok"]),
        ({"type": "length", "max": "4B", "start": "S"}, b"S\x09S\x01k", b"S\x09", [b"k"]),
        (ANGLES | {"max": "2B"}, b"<abc><ok>", b"<abc>", [b"ok"]),
    ],
)  # fmt: skip
def test_too_long(keys: dict[str, Any], stream: bytes, kept: bytes, after: list[bytes]) -> None:
    found = framing(**keys).feed(stream)
    assert faults(found) == [("too_long", kept)]
    assert frames(found) == after


def test_a_line_that_never_ends_is_told_of_once() -> None:
    lines = framing(max="100B")
    found = [piece for _ in range(1000) for piece in lines.feed(b"x" * 50)]
    assert faults(found) == [("too_long", b"x" * KEPT)]
    assert frames(lines.feed(b"xx\ngood\n")) == [b"good"]


def test_rubbish_that_never_ends_is_told_of_now_and_then() -> None:
    marks = framing(type="markers", start="<", end=">")
    found = [piece for _ in range(NOISE * 3 // 50) for piece in marks.feed(b"x" * 50)]
    assert [fault for fault, _ in faults(found)] == ["noise"] * 2
    assert found[0].detail == f"{NOISE} bytes that are no frame"


def test_silence() -> None:
    gap = framing(type="gap", gap="20ms", max="8B")
    assert gap.feed(b"ab") == []
    assert gap.waiting
    assert gap.feed(b"cd") == []
    assert gap.idle() == [Piece(b"abcd")]
    assert not gap.waiting
    assert faults(gap.feed(b"123456789")) == [("too_long", b"12345678")]
    assert gap.feed(b"more") == gap.idle() == []
    assert gap.feed(b"ok") + gap.idle() == [Piece(b"ok")]
    lines = framing(gap="20ms")
    assert lines.feed(b"a\nb") + lines.idle() == [Piece(b"a"), Piece(b"b")]
    patient = framing()
    assert patient.feed(b"a") + patient.idle() + patient.feed(b"b\n") == [Piece(b"ab")]


def test_half_a_frame_is_given_up_after_silence_but_not_what_is_whole_in_it() -> None:
    good = pms(b"value")
    found = framing(**PMS)
    assert found.feed(b"BM\x00\x60" + good + b"B") == []
    pieces = found.idle()
    assert frames(pieces) == [b"value"]
    assert faults(pieces) == [("cut", b"BM\x00\x60"), ("cut", b"B")]
    assert frames(found.feed(good)) == [b"value"]


def test_what_began_before_we_listened_is_no_frame() -> None:
    lines = framing()
    lines.midway()
    found = lines.feed(b"2.5\r\nW:13.5\r\n")  # the rest of W:12.5
    assert faults(found) == [("cut", b"2.5")]
    assert frames(found) == [b"W:13.5"]
    whole = framing()
    whole.midway()
    assert frames(whole.feed(b"\r\nW:12.5\r\n")) == [b"W:12.5"]


def test_a_line_that_is_lost_takes_no_half_frame_into_the_next_one() -> None:
    for keys in EVERY:
        found = framing(**keys)
        found.feed(b"a\x30")
        found.lost()
        assert not found.waiting, keys


def pieces_of(found: Framing, parts: Sequence[bytes]) -> list[Piece]:
    return [piece for part in parts for piece in found.feed(part)]


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Bytes in which delimiters, starts, whole frames and rubbish are likely."""
    likely = [b"\n", b"\r", b"\r\n", b";", b"a", b"b", b"aab", b"ab", b"ba", b"\x02", b"\x03",
              b"\x00\x04", pms(b"x"), xbee(b"yz"), summed("xor", b"1234"), b"~", b"BM",
              b"a" + summed("crc16-modbus", b"a\x04zz")[1:]]  # fmt: skip
    parts = st.one_of(st.sampled_from(likely), st.binary(max_size=12))
    return b"".join(draw(st.lists(parts, max_size=40)))


@pytest.mark.parametrize("keys", EVERY, ids=str)
@settings(max_examples=2_000 if FULL else 60, deadline=None)
@given(data=st.data())
def test_any_split_gives_the_same(keys: dict[str, Any], data: st.DataObject) -> None:
    stream = data.draw(streams())
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    whole, split, bytewise = (framing(**keys) for _ in range(3))
    for each in (whole, split, bytewise):
        if data.draw(st.just(len(stream) % 2)):
            each.midway()
    expected = whole.feed(stream)
    parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert pieces_of(split, parts) == expected
    assert pieces_of(bytewise, [bytes([byte]) for byte in stream]) == expected
    assert split.idle() == whole.idle()


@given(
    bodies=st.lists(st.binary(min_size=1, max_size=40), max_size=20), rubbish=st.binary(max_size=30)
)
@settings(max_examples=1_000 if FULL else 50, deadline=None)
def test_everything_that_is_sent_arrives(bodies: list[bytes], rubbish: bytes) -> None:
    # A checksum that fits by chance, in rubbish before a frame, is possible: none begins there.
    rubbish = rubbish.replace(b"B", b"")
    for keys, make in ((PMS, pms), (XBEE, xbee)):
        clean = rubbish.replace(b"~", b"")
        stream = b"".join(clean + make(body) for body in bodies)
        assert frames(framing(**keys).feed(stream)) == bodies


def test_no_rubbish_takes_long() -> None:
    chance, worst = seeded(), 0.0
    makers: list[Callable[[], bytes]] = [
        lambda: chance.randbytes(chance.randrange(MOST)),
        lambda: bytes([chance.choice(b"\x00\xff\x02aB~\n")]) * chance.randrange(MOST),
        lambda: chance.choice([b"BM", b"BM\x03\xf0", b"~\x00", b"aab"]) * chance.randrange(250),
        lambda: pms(chance.randbytes(20))[chance.randrange(3) :],
    ]  # fmt: skip
    built = [framing(**keys) for keys in EVERY]
    for _ in range(runs(500, 100_000)):
        found, data = chance.choice(built), chance.choice(makers)()
        began = time.thread_time()
        found.feed(data)
        if chance.random() < 0.2:
            found.idle()
        worst = max(worst, time.thread_time() - began)
    print(f"worst: {worst * 1e3:.1f} ms")
    assert worst <= 0.05


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"type": "fixed"}, "needs length"), ({"type": "markers", "start": "<"}, "needs end"),
        ({"type": "delimiter"}, "needs end"), ({"type": "gap"}, "needs gap"),
        ({"type": "lines", "start": "<"}, "has no start"),
        ({"type": "lines", "checksum": {"type": "xor"}}, "has no checksum"),
        ({"type": "markers", "start": "~", "end": "~"}, "that is a delimiter"),
        ({"type": "fixed", "length": 2000, "checksum": {"type": "xor"}}, "longer than 256"),
        ({"type": "delimiter", "end": "\\q"}, "unknown escape"),
        ({"type": "delimiter", "end": "hex:0"}, "pairs of hexadecimal"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        FramingSettings.model_validate(keys)


def test_bytes_as_they_are_written() -> None:
    assert wire_bytes("READ?\\r\\n") == b"READ?\r\n"
    assert wire_bytes("hex:02 ff0d") == b"\x02\xff\r"
    assert wire_bytes("\\x02\\\\n°\\0\\e") == b"\x02\\n\xc2\xb0\x00\x1b"


def test_values_are_put_in_and_no_second_command() -> None:
    assert fill("SP {value} {unit}\\r\\n", {"value": 2.5, "unit": "kg"}) == b"SP 2.5 kg\r\n"
    assert fill("{{}}\\r", {}) == b"{}\r"
    assert fill("hex:0d7b", {}) == b"\r{"
    assert fill("{a}hex:", {"a": "\\r"}) == b"\\rhex:"  # no escape in a value is one
    for value in ("1\r\nFORMAT", "\x02", "x" * 300, None, [1], True):
        with pytest.raises(ValueError, match="value"):
            fill("SP {value}", {"value": value})
    for args in ({}, {"value": 1, "more": 2}):
        with pytest.raises(ValueError, match="expected value"):
            fill("SP {value}", args)
    for template in ("{", "}", "{a b}", "{}", "x{1}", "\\q{a}"):
        with pytest.raises(ValueError, match=r"brace|escape"):
            names_in(template)
