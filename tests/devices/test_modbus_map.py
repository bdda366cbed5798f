"""Maps of registers: what they may say, what is read together, and those that come with us."""

import math
import struct
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Config, InvalidConfig, loads
from gateway.io.modbus import values as values
from gateway.io.modbus.files import PLACES, known
from gateway.io.modbus.map import MapSettings
from gateway.io.modbus.plan import Memory, items, plan

PROJECT = Path(__file__).parents[2]
LIBRARY = sorted((PROJECT / "config/modbus").glob("*.yaml"))


def a_map(*registers: dict[str, Any], **more: Any) -> MapSettings:
    return MapSettings.model_validate({"registers": registers, **more})


def memory(table: str, address: int, *words: int) -> Memory:
    return {(table, address + n): word for n, word in enumerate(words)}


def decoded(register: dict[str, Any], *words: int, **more: Any) -> Any:
    found = a_map({"name": "x", "address": 4, **register}, **more)
    (item,) = items(found, found.registers)
    return item.decode(memory(item.table, item.address, *words)).get("x")


def one(text: str, **environment: str) -> Any:
    """A unit with the map that `text` is."""
    config: Config = loads(
        "devices:\n- type: modbus\n  host: 127.0.0.1\n  units:\n  - device: a\n"
        + "".join(f"    {line}\n" for line in text.splitlines()),
        environment,
    )
    return config.devices[0].units[0]  # type: ignore[attr-defined]


def problem(text: str) -> Any:
    with pytest.raises(InvalidConfig) as error:
        one(text)
    (found,) = error.value.problems
    return found


def test_every_map_that_comes_with_us_is_here() -> None:
    assert set(known()) == {path.stem for path in LIBRARY} >= {
        "sdm120", "sdm630", "sunspec-inverter", "pzem-004t", "pzem-016", "xy-md02", "relay-8",
    }  # fmt: skip


def test_they_go_where_an_installed_gateway_looks_for_them() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {PROJECT / place for place in wheel["force-include"].values()} == {PLACES[0]}
    assert PLACES[1] == PROJECT / "config/modbus"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)
def test_a_map_that_comes_with_us_is_whole(path: Path) -> None:
    found = one(f"map: {path.stem}").map
    assert found.model
    assert found.source
    assert found.about
    for register in found.registers:
        assert register.every is None or register.every >= found.every
    unit = one(f"map: {path.stem}").build(1.0)
    requests = sum(len(group.blocks) for group in unit.groups)
    assert requests <= 6
    assert requests < len(found.registers)


@pytest.mark.parametrize(
    ("name", "read", "expected"),
    [
        ("sdm120", {("input", 0): 0x4366, ("input", 1): 0x199A}, {"voltage": 230.1}),
        ("sdm630", {("input", 0x34): 0x447A, ("input", 0x35): 0}, {"power": 1000.0}),
        ("pzem-016", {("input", 3): 0x86A1, ("input", 4): 1}, {"power": 10_000.1}),
        ("pzem-004t", {("input", 5): 1_234, ("input", 6): 0}, {"energy": 1.234}),
        ("pzem-004t", {("input", 9): 0xFFFF}, {"alarm": "on"}),
        ("xy-md02", {("input", 1): 0xFFCE, ("input", 2): 455},
         {"temperature": -5.0, "humidity": 45.5}),
        ("relay-8", {("coil", 7): 1}, {"relay.8": True}),
        ("relay-8-inputs-8", {("discrete", 0): 0}, {"input.1": False}),
        ("sunspec-inverter", {("holding", 40083): 5_123, ("holding", 40084): 0xFFFF},
         {"power": 512.3}),
        ("sunspec-inverter", {("holding", 40083): 0x8000, ("holding", 40084): 0}, {}),
        ("sunspec-inverter", {("holding", 40107): 4}, {"state": "mppt"}),
    ],
)  # fmt: skip
def test_what_devices_of_the_library_say(name: str, read: Memory, expected: dict[str, Any]) -> None:
    unit = one(f"map: {name}").build(1.0)
    found: dict[str, Any] = {}
    for item in unit.items:
        found |= item.decode(read)
    assert found == expected


ORDERS = [("big", "big"), ("big", "little"), ("little", "big"), ("little", "little")]


@pytest.mark.parametrize(("byte_order", "word_order"), ORDERS)
@pytest.mark.parametrize(
    ("kind", "code", "number"),
    [
        ("int16", "h", -12_345), ("uint16", "H", 54_321),
        ("int32", "i", -123_456_789), ("uint32", "I", 3_123_456_789),
        ("int64", "q", -1_234_567_890_123_456), ("uint64", "Q", 9_007_199_254_740_990),
        ("float32", "f", -1.5e7), ("float64", "d", math.pi),
    ],
)  # fmt: skip
def test_numbers_in_every_order(
    kind: str, code: str, number: float, byte_order: str, word_order: str
) -> None:
    data = struct.pack(f">{code}", number)
    words = [data[n : n + 2] for n in range(0, len(data), 2)]
    if byte_order == "little":
        words = [word[::-1] for word in words]
    if word_order == "little":
        words.reverse()
    registers = [word[0] << 8 | word[1] for word in words]
    orders = {"byte_order": byte_order, "word_order": word_order}
    assert decoded({"type": kind}, *registers, **orders) == number
    assert decoded({"type": kind, **orders}, *registers) == number  # said of this one only
    found = a_map({"name": "x", "address": 0, "type": kind}, **orders)
    assert items(found, found.registers)[0].encode(number) == registers


def test_scale_offset_and_rounding() -> None:
    assert decoded({"scale": 0.1}, 2301) == 230.1
    assert decoded({"scale": 0.1, "offset": -40.25}, 3) == -39.95
    assert decoded({"scale": 0.01, "round": 1}, 12346) == 123.5
    assert decoded({"scale": 1000}, 3) == 3000.0
    assert decoded({"type": "int16", "scale": -1}, 0xFFFF) == 1.0
    whole = decoded({}, 21)
    assert isinstance(whole, float)
    assert whole == 21.0
    assert decoded({"type": "float32"}, 0x4366, 0x199A) == 230.1
    assert decoded({"type": "float32", "round": 0}, 0x4366, 0x199A) == 230.0


def test_what_means_none_is_left_out() -> None:
    assert decoded({"invalid": [0xFFFF]}, 0xFFFF) is None
    assert decoded({"type": "int16", "invalid": [-32768]}, 0x8000) is None
    assert decoded({"type": "int16", "invalid": [0x8000]}, 0x8000) is None
    assert decoded({"type": "float32"}, 0x7FC0, 0) is None
    assert decoded({"type": "float32"}, 0x7F80, 0) is None
    assert decoded({"exponent": 9}, 5) is None  # the other register was not read


def test_names_text_and_bits() -> None:
    names = {"names": {0: "off", 3: "heating"}}
    assert [decoded(names, n) for n in (0, 3, 7)] == ["off", "heating", "7"]
    text = [0x5344, 0x4D31, 0x3230, 0x0041]
    assert decoded({"type": "string", "length": 4}, *text) == "SDM120"
    swapped = [0x4453, 0x314D, 0x3032, 0x2020]
    assert decoded({"type": "string", "length": 4, "byte_order": "little"}, *swapped) == "SDM120"
    found = a_map({"name": "x", "address": 0, "type": "bits", "bits": {0: "a", 8: "b", 15: "c"}})
    (item,) = items(found, found.registers)
    assert item.decode(memory("holding", 0, 0x8001)) == {"x.a": True, "x.b": False, "x.c": True}
    assert decoded({"table": "coil"}, 1) is True


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_short_float_is_the_same_float(number: float) -> None:
    found = values.shortest(number)
    assert struct.pack(">f", found) == struct.pack(">f", number)


@given(st.sampled_from(["int16", "uint16", "int32", "uint32", "float32", "float64"]),
       st.floats(-1e6, 1e6))  # fmt: skip
def test_whatever_is_set_is_refused_or_read_again(kind: str, wanted: float) -> None:
    register = {"name": "x", "address": 0, "type": kind, "scale": 0.1, "write": True}
    found = a_map(register)
    (item,) = items(found, found.registers)
    try:
        words = item.encode(wanted)
    except ValueError:
        return
    again = item.decode(memory("holding", 0, *words))["x"]
    assert math.isclose(float(again), wanted, rel_tol=1e-6, abs_tol=0.051)


# -- what is read together -------------------------------------------------------------------


def blocks(*places: Any, gap: int = 8, largest: int = 125) -> list[tuple[str, int, int]]:
    registers = []
    for number, place in enumerate(places):
        table, address, kind = (place, 0, 0) if isinstance(place, str) else (*place, "")[:3]
        registers.append(
            {"name": f"n{number}", "table": table, "address": address}
            | ({"type": kind} if kind else {})
        )
    found = a_map(*registers, gap=gap, largest=largest)
    return [
        (block.table, block.address, block.count)
        for block in plan(items(found, found.registers), gap, largest)
    ]


def test_neighbours_are_read_together() -> None:
    near = [("holding", 10, "uint32"), ("holding", 0), ("holding", 5), ("holding", 12)]
    assert blocks(*near) == [("holding", 0, 13)]
    assert blocks(*near, gap=3) == [("holding", 0, 1), ("holding", 5, 1), ("holding", 10, 3)]
    assert blocks(*near, gap=4) == [("holding", 0, 13)]
    assert blocks(("holding", 0), ("input", 1)) == [("holding", 0, 1), ("input", 1, 1)]


def test_a_request_has_a_limit_and_no_value_is_cut() -> None:
    row = [("holding", n, "float32") for n in range(0, 20, 2)]
    assert blocks(*row, largest=5) == [("holding", n, 4) for n in range(0, 20, 4)]
    long = [("holding", n) for n in range(300)]
    assert [count for _, _, count in blocks(*long)] == [125, 125, 50]
    many = [("coil", n) for n in range(3_000)]
    assert [count for _, _, count in blocks(*many)] == [2_000, 1_000]


def test_the_same_register_twice_is_read_once() -> None:
    found = a_map({"name": "a", "address": 0, "type": "uint32"}, {"name": "b", "address": 1})
    (block,) = plan(items(found, found.registers), 8, 125)
    assert (block.address, block.count) == (0, 2)
    assert block.halves() == []


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 4)), min_size=1, max_size=40),
       st.integers(0, 20), st.integers(4, 125))  # fmt: skip
def test_whatever_is_wanted_is_read_whole_within_the_limits(
    wanted: list[tuple[int, int]], gap: int, largest: int
) -> None:
    kinds = {1: "uint16", 2: "uint32", 3: "string", 4: "uint64"}
    found = a_map(
        *(
            {"name": f"n{n}", "address": address, "type": kinds[count]}
            | ({"length": 3} if count == 3 else {})
            for n, (address, count) in enumerate(wanted)
        )
    )
    planned = plan(items(found, found.registers), gap, largest)
    for address, count in wanted:
        assert any(
            block.address <= address and address + count <= block.address + block.count
            for block in planned
        )
    assert all(block.count <= largest for block in planned)
    # Halving, as when a unit refuses, loses nothing and comes to an end.
    rest, alone = list(planned), 0
    while rest:
        block = rest.pop()
        halves = block.halves()
        assert sum(len(half.parts) for half in halves) in (0, len(block.parts))
        alone += 0 if halves else len(block.parts)
        rest += halves
    assert alone == len(wanted)


# -- what is wrong ---------------------------------------------------------------------------


INLINE = "map:\n  registers:\n  - {{name: x, address: 0, {}}}"


@pytest.mark.parametrize(
    ("written", "message", "marked"),
    [
        ("type: float", '"float" is not one of the choices', "float}"),
        ("scael: 0.1", 'unknown key "scael"', "scael"),
        ("scale: 0", "not a scale", "0}"),
        ("table: coil, type: uint16", "uint16 is not what is in the table coil", "uint16"),
        ("type: string", "a string has a length, and nothing else has", "{"),
        ("type: bits", "bits have names, and nothing else has", "{"),
        ("type: bits, bits: {16: a}", "a register has the bits 0 to 15", "{16"),
        ("table: input, write: true", "the table input cannot be written", "true"),
        ("min: 5", "only what can be set has limits", "5"),
        ("read: false", "nothing is left to do", "false"),
        ("write: true, min: 5, max: 3", "less than min", "3}"),
        ("write: true, exponent: 3", "a number with an exponent cannot be set", "true"),
    ],
)
def test_what_is_wrong_with_a_map_is_told_where_it_is(
    written: str, message: str, marked: str
) -> None:
    text = INLINE.format(written)
    found = problem(text)
    assert found.message == message
    line = f"    {text.splitlines()[-1]}"
    assert (found.line, found.column) == (8, line.index(marked) + 1)
    assert found.fix


def test_what_is_wrong_with_a_whole_map() -> None:
    two = "map:\n  registers: [{name: x, address: 0}, {name: x, address: 1}]"
    assert '"x" is there twice' in problem(two).message
    low = "map:\n  base: 1\n  registers: [{name: x, address: 0}]"
    assert "there is no register 0" in problem(low).message
    high = "map:\n  registers: [{name: x, address: 65535, type: uint32}]"
    assert "there is no register 65535" in problem(high).message
    long = "map:\n  largest: 1\n  registers: [{name: x, address: 0, type: uint32}]"
    assert "x has 2 registers" in problem(long).message
    none = problem("map: sdm120\nonly: [nothing]")
    assert (none.message, none.line) == ("none of the map's values has such a name", 7)


def test_an_unknown_map_offers_the_nearest() -> None:
    found = problem("map: sdm12")
    assert 'no map "sdm12" (known: ' in found.message
    assert found.fix == "map: sdm120"
    assert (found.line, found.column) == (6, 10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("registers:\n- {name: x, address: 0, type: float}\n", ":2:31: registers.0.type: "),
        ("registers:\n- {name: x, adress: 0}\n", ":2:3: registers.0.address: Field required"),
        ("registers:\n- {name: x, address: 0, foo: 1}\n", ":2:30: registers.0.foo: unknown key"),
        ("registers:\n- {name: x, address: 0, scale: 0}\n", ":2:32: registers.0: not a scale"),
        ("registers: [\n", ":2:1: not YAML"),
        ("registers:\n- {name: x, name: y}\n", '"name" is here twice'),
        ("- 1\n", "not keys and values"),
        ("", "not keys and values"),
        ("a: &a [1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
         "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"
         "f: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n", "too large, or nested too deep"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_told_with_its_place(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    found = problem(f"map: {path}")
    assert f"{path}" in found.message
    assert message in found.message
    assert (found.line, found.column) == (6, 10)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    assert "No such file" in problem(f"map: {tmp_path / 'no.yaml'}").message
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in problem(f"map: {tmp_path / 'bad.yaml'}").message
    (tmp_path / "big.yaml").write_text("#" * 300_000)
    assert "larger than" in problem(f"map: {tmp_path / 'big.yaml'}").message


def test_ones_own_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "base: 1\nregisters:\n- {name: state, address: 0x10, names: {0: off, 1: on}}\n"
        "- {name: other, address: 1e1}\n".replace("1e1", "10")
    )
    found = one(f"map: {path}").map
    assert found.registers[0].names == {0: "off", 1: "on"}  # no booleans of YAML 1.1
    assert [item.address for item in items(found, found.registers)] == [15, 9]


def test_only_some_of_a_map() -> None:
    unit = one('map: sdm120\nonly: ["energy*", "!*reactive*"]')
    assert [each.name for each in unit.chosen] == ["energy.import", "energy.export", "energy"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("units: [{device: a, map: sdm120}]", "neither a host nor a serial port is named"),
        ("host: h\n  units: []", "there is none"),
        ("host: h\n  baudrate: 9600\n  units: [{device: a, map: sdm120}]",
         "Modbus TCP has no baudrate"),
        ("port: /dev/x\n  encoding: rtu\n  units: [{device: a, map: sdm120}]",
         "a serial line has no encoding"),
        ("port: ttyUSB0\n  units: [{device: a, map: sdm120}]",
         "neither a path nor an adapter on USB"),
        ("host: h\n  port: /dev/x\n  units: [{device: a, map: sdm120}]",
         "a serial port has no host"),
        ("port: /dev/x\n  units: [{device: a, address: 0, map: sdm120}]",
         "nobody answers at address 0 of a serial line"),
        ("host: h\n  units: [{device: a, map: sdm120}, {device: a, address: 2, map: sdm120}]",
         'the device "a" is there twice'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_line(line: str, message: str) -> None:
    with pytest.raises(InvalidConfig) as error:
        loads(f"devices:\n- type: modbus\n  {line}\n")
    (found,) = error.value.problems
    assert found.message == message
    assert found.line
    assert found.fix
