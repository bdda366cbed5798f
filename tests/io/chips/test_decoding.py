"""What chips say, by the examples and tables of their datasheets; and whatever else may come."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.contracts import Addressed, Measured
from gateway.core.errors import DecodeError
from gateway.io.i2c.chips.ads1115 import RANGES, Ads1115, Channel
from gateway.io.i2c.chips.bme280 import Bme280
from gateway.io.i2c.chips.chip import Chip
from gateway.io.i2c.chips.codec import ChipCodec
from gateway.io.i2c.chips.ina219 import Ina219, calibration
from gateway.io.i2c.chips.registers import SIZES, Register, Registers
from gateway.io.i2c.chips.sht3x import Sht3x, crc8
from gateway.io.onewire.codec import crc8 as maxim
from gateway.io.onewire.codec import decoded
from tests.support import thermometers
from tests.support.faults import runs
from tests.support.i2c_chips import EXAMPLE, HUMID, _word, trimming
from tests.support.thermometers import scratchpad, w1_slave


def refusal(decode: Callable[[], Any]) -> str:
    """The reason for which something is no reading."""
    with pytest.raises(DecodeError) as error:
        decode()
    return error.value.reason


# -- BME280, BMP280 -------------------------------------------------------------------------


def measured(
    adc: tuple[int, int, int], t: tuple[int, ...] = EXAMPLE, h: tuple[int, ...] = HUMID
) -> bytes:
    """A frame of a BME280. adc: temperature, pressure, humidity."""
    temperature, pressure, humidity = adc
    data = (pressure << 4).to_bytes(3, "big") + (temperature << 4).to_bytes(3, "big")
    return b"".join(trimming(t, h)) + data + humidity.to_bytes(2, "big")


def test_the_example_of_the_bmp280s_datasheet() -> None:
    values = Bme280().decode(measured((519_888, 415_148, 30_000)))
    assert values["temperature"] == pytest.approx(25.08, abs=0.005)
    assert values["pressure"] == pytest.approx(1006.5327, abs=0.0006)
    frame = measured((519_888, 415_148, 0))
    other = Bme280(humid=False).decode(frame[:26] + frame[33:39])
    assert other == {name: values[name] for name in ("temperature", "pressure")}


def in_whole_numbers(adc: int, fine: int, h: tuple[int, ...]) -> float:
    """The humidity by the datasheet's other formula, with 32 bit integers (4.2.3)."""
    h1, h2, h3, h4, h5, h6 = h
    x = fine - 76_800
    x = (((adc << 14) - (h4 << 20) - h5 * x + 16_384) >> 15) * (
        ((((x * h6 >> 10) * ((x * h3 >> 11) + 32_768)) >> 10) + 2_097_152) * h2 + 8_192 >> 14
    )
    x -= (((x >> 15) * (x >> 15)) >> 7) * h1 >> 4
    return min(max(x, 0), 419_430_400) / 4096 / 1024


@given(
    st.integers(10_000, 50_000).filter(lambda adc: adc != 0x8000),  # that was not measured
    st.integers(440_000, 600_000).filter(lambda adc: adc != 0x80000),
    st.integers(0, 120), st.integers(300, 420), st.integers(0, 30), st.integers(-2_000, 500),
    st.integers(-200, 200),
    st.integers(-40, 40),
)  # fmt: skip
@settings(max_examples=300, deadline=None, database=None)
def test_both_formulas_for_humidity_agree(
    adc: int, temperature: int, h1: int, h2: int, h3: int, h4: int, h5: int, h6: int
) -> None:
    humidity = (h1, h2, h3, h4, h5, h6)
    found = Bme280().decode(measured((temperature, 415_148, adc), h=humidity))
    t1, t2, t3 = EXAMPLE[:3]
    fine = ((temperature >> 3) - (t1 << 1)) * t2 >> 11
    fine += (((temperature >> 4) - t1) ** 2 >> 12) * t3 >> 14
    assert found["humidity"] == pytest.approx(in_whole_numbers(adc, fine, humidity), abs=0.05)


def test_what_a_bme280_has_not_measured_is_no_reading() -> None:
    chip = Bme280()
    for adc in ((0x80000, 415_148, 30_000), (519_888, 0x80000, 30_000), (519_888, 415_148, 0x8000)):
        assert refusal(lambda adc=adc: chip.decode(measured(adc))) == "skipped"
    assert refusal(lambda: chip.decode(measured((519_888, 415_148, 30_000), t=(0,) * 12)))
    assert refusal(lambda: chip.decode(measured((0, 415_148, 30_000)))) == "range"
    assert refusal(lambda: chip.decode(measured((519_888, 0xFFFFF, 30_000)))) == "range"
    assert refusal(lambda: chip.decode(bytes(40))) == "length"


# -- SHT3x ----------------------------------------------------------------------------------


def test_sht3x() -> None:
    assert crc8(b"\xbe\xef") == 0x92  # 4.12
    assert _word(0xBEEF) == b"\xbe\xef\x92"  # the simulated chip has its own
    chip = Sht3x()
    for temperature, humidity, raw in (
        (-45.0, 0.0, (0, 0)), (130.0, 100.0, (0xFFFF, 0xFFFF)), (25.0, 20.0, (0x6666, 0x3333)),
    ):  # fmt: skip
        found = chip.decode(b"".join(map(_word, raw)))
        assert found == {"temperature": temperature, "humidity": humidity}


def test_any_wrong_bit_of_an_sht3x_is_seen() -> None:
    frame = _word(0x6666) + _word(0x3333)
    for bit in range(48):
        damaged = (int.from_bytes(frame, "big") ^ 1 << bit).to_bytes(6, "big")
        assert refusal(lambda damaged=damaged: Sht3x().decode(damaged)) == "checksum"
    assert refusal(lambda: Sht3x().decode(frame[:3])) == "length"


# -- ADS1115 --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("range_", "step"),
    [*zip(RANGES, (187.5, 125.0, 62.5, 31.25, 15.625, 7.8125), strict=True)],
)
def test_steps_of_an_ads1115(range_: float, step: float) -> None:  # table 1, µV
    chip = Ads1115([Channel("v", 0, range=range_)])
    assert chip.decode(b"\0\1") == {"v": pytest.approx(step * 1e-6)}
    assert chip.decode(b"\xff\xff") == {"v": pytest.approx(-step * 1e-6)}
    assert chip.decode(b"\0\0") == {"v": 0.0}
    for beyond in (b"\x7f\xff", b"\x80\0"):  # table 3
        assert refusal(lambda beyond=beyond: chip.decode(beyond)) == "range"


def test_a_channel_beyond_its_range_hides_no_other() -> None:
    channels = [Channel("level", 0, scale=100, offset=-50, unit="cm"), Channel("supply", 3)]
    chip = Ads1115(channels)
    assert chip.units == {"level": "cm", "supply": "V"}
    assert chip.decode(bytes.fromhex("1f40 7fff")) == {"level": 50.0}
    assert chip.decode(bytes.fromhex("1f40 1f40")) == {"level": 50.0, "supply": 1.0}


# -- INA219 ---------------------------------------------------------------------------------


def test_the_example_of_the_ina219s_datasheet() -> None:
    assert calibration(0.001, 0.002) == 0x5000
    chip = Ina219(0.002, 15.0, lsb=0.001)
    assert chip.decode(bytes.fromhex("07d0 5d98 2710 1766")) == {
        "voltage": pytest.approx(11.98), "current": pytest.approx(10.0),
        "power": pytest.approx(119.8), "shunt_voltage": pytest.approx(0.02),
    }  # fmt: skip
    backwards = chip.decode(bytes.fromhex("f830 5d98 d8f0 1766"))
    assert backwards["current"] == pytest.approx(-10.0)
    assert backwards["shunt_voltage"] == pytest.approx(-0.02)
    assert refusal(lambda: chip.decode(bytes.fromhex("07d0 5d99 2710 1766"))) == "range"
    assert refusal(lambda: chip.decode(bytes(7))) == "length"


@given(st.floats(1e-3, 10), st.floats(1e-3, 0.32), st.integers(-30_000, 30_000))
@settings(max_examples=300, deadline=None, database=None)
def test_current_is_right_whatever_the_shunt(shunt: float, volts: float, steps: int) -> None:
    chip = Ina219(shunt, volts / shunt)
    number = chip._calibration
    assert 0 < number <= 0xFFFE
    assert not number & 1
    # As the chip computes it (8.5.1, equation 4), which rounds.
    current = steps * number // 4096
    if not -0x8000 <= current < 0x8000:
        return
    frame = bytes(4) + current.to_bytes(2, "big", signed=True) + bytes(2)
    wanted = steps * 1e-5 / shunt
    assert chip.decode(frame)["current"] == pytest.approx(wanted, abs=1.1 * chip._lsb)


# -- registers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("register", "data", "value"),
    [
        (Register("v", 0), "ff", 255.0),
        (Register("v", 0, "int8"), "ff", -1.0),
        (Register("v", 0, "uint16", scale=0.1), "04d2", 123.4),
        (Register("v", 0, "uint16", "little", scale=0.1), "d204", 123.4),
        (Register("v", 0, "int16", scale=1 / 256), "1980", 25.5),  # LM75
        (Register("v", 0, "int16", bits=13, scale=0.0625), "c194", 25.25),  # MCP9808, with flags
        (Register("v", 0, "int16", bits=13, scale=0.0625), "1ff8", -0.5),
        (Register("v", 0, "uint16", bits=12), "f801", 2049.0),
        (Register("v", 0, "int24"), "fffffe", -2.0),
        (Register("v", 0, "uint24", "little"), "010000", 1.0),
        (Register("v", 0, "int32", offset=-273.15), "0000012c", 26.85),
        (Register("v", 0, "uint64"), "00000000ffffffff", 4294967295.0),
        (Register("v", 0, "float32"), "41cc0000", 25.5),
        (Register("v", 0, "float64", "little"), "0000000000803940", 25.5),
    ],
)
def test_registers(register: Register, data: str, value: float) -> None:
    assert Registers([register]).decode(bytes.fromhex(data)) == {"v": pytest.approx(value)}


def test_what_is_no_number_hides_no_other() -> None:
    chip = Registers([Register("a", 0, "float32"), Register("b", 4, unit="l")])
    assert chip.units == {"b": "l"}
    assert chip.decode(bytes.fromhex("7fc00000 05")) == {"b": 5.0}
    assert chip.decode(bytes.fromhex("7f800000 05")) == {"b": 5.0}
    lonely = Registers([Register("a", 0, "float32")])
    assert refusal(lambda: lonely.decode(bytes.fromhex("7fc00000"))) == "empty"


# -- thermometers on 1-Wire -----------------------------------------------------------------


def test_checksum_of_maxim() -> None:
    rom = bytes.fromhex("02 1c b8 01 00 00 00")  # the example of application note 27
    assert maxim(rom) == thermometers.crc(rom) == 0xA2
    pad = bytes.fromhex("a3 01 4b 46 7f ff 0d 10 ce")  # as a sensor gave it
    assert maxim(pad[:8]) == thermometers.crc(pad[:8]) == pad[8]
    switched_on = bytes.fromhex("50 05 4b 46 7f ff 0c 10 1c")
    assert scratchpad(0x0550, byte6=0x0C) == switched_on


@pytest.mark.parametrize(
    ("raw", "celsius"),
    [  # table 1
        (0x07D0, 125.0), (0x0550, 85.0), (0x0191, 25.0625), (0x00A2, 10.125), (0x0008, 0.5),
        (0x0000, 0.0), (0xFFF8, -0.5), (0xFF5E, -10.125), (0xFE6F, -25.0625), (0xFC90, -55.0),
    ],
)  # fmt: skip
def test_temperatures_of_a_ds18b20(raw: int, celsius: float) -> None:
    text = w1_slave(scratchpad(raw), int(celsius * 1000)).encode()
    assert decoded("28", "w1_slave", text) == {"temperature": celsius}
    if celsius != 85.0:
        by_itself = f"{int(celsius * 1000)}\n".encode()
        found = decoded("28", "temperature", by_itself)["temperature"]
        assert found == pytest.approx(celsius, abs=0.001)


@pytest.mark.parametrize(("bits", "celsius"), [(12, 25.9375), (11, 25.875), (10, 25.75), (9, 25.5)])
def test_bits_that_mean_nothing_are_left_out(bits: int, celsius: float) -> None:  # figure 4
    text = w1_slave(scratchpad(0x019F, bits), 25_937).encode()
    assert decoded("28", "w1_slave", text) == {"temperature": celsius}


def test_what_was_not_measured_is_no_reading() -> None:
    for raw, milli in ((0x0550, 85_000), (0x07FF, 127_937)):
        text = w1_slave(scratchpad(raw, byte6=0x0C), milli).encode()
        assert refusal(lambda text=text: decoded("28", "w1_slave", text)) == "power_on"
        by_itself = f"{milli}\n".encode()
        assert refusal(lambda text=by_itself: decoded("28", "temperature", text)) == "power_on"
    hot = w1_slave(scratchpad(0x0550), 85_000).encode()
    assert decoded("28", "w1_slave", hot) == {"temperature": 85.0}
    # A DS18S20 counts in halves; the kernel works it out, also what it says at power-on.
    pad = bytes.fromhex("aa 00 4b 46 ff ff 0c 10")
    text = w1_slave(pad + bytes((thermometers.crc(pad),)), 85_000).encode()
    assert refusal(lambda: decoded("10", "w1_slave", text)) == "power_on"
    pad = bytes.fromhex("32 00 4b 46 ff ff 0b 10")
    text = w1_slave(pad + bytes((thermometers.crc(pad),)), 25_062).encode()
    assert decoded("10", "w1_slave", text) == {"temperature": 25.062}


def test_what_a_bad_line_gives_is_no_reading() -> None:
    good = w1_slave(scratchpad(0x0191), 25_062)
    for text in (
        good.replace("YES", "NO"), good.replace("91 01", "93 01"),
        w1_slave(bytes(9), 0),  # shorted: the checksum of nine zeros is right
        w1_slave(b"\xff" * 9, -62),  # nobody is there
    ):  # fmt: skip
        assert refusal(lambda text=text: decoded("28", "w1_slave", text.encode())) == "checksum"
    for text in ("", "t=25062", good.splitlines()[0], good * 2):
        assert refusal(lambda text=text: decoded("28", "w1_slave", text.encode())) == "malformed"
    assert refusal(lambda: decoded("28", "temperature", b"126000\n")) == "range"
    assert decoded("3b", "temperature", b"600250\n") == {"temperature": 600.25}


# -- whatever comes -------------------------------------------------------------------------

CHIPS: dict[str, Chip] = {
    "bme280": Bme280(),
    "bmp280": Bme280(humid=False),
    "sht3x": Sht3x(),
    "ads1115": Ads1115([Channel("a", 0), Channel("b", 1, scale=1e308, offset=1e308)]),
    "ina219": Ina219(),
    "registers": Registers([Register(t, n, t, scale=1e308) for n, t in enumerate(SIZES)]),  # type: ignore[arg-type]
}
LENGTHS = {"bme280": 41, "bmp280": 32, "sht3x": 6, "ads1115": 4, "ina219": 8, "registers": 42}
REASONS = {"length", "skipped", "range", "checksum", "empty", "topic", "malformed", "power_on"}


def tried(decode: Callable[[], dict[str, Any]]) -> None:
    """Only a DecodeError may come of it, or sound values."""
    reason, values = "", {"nothing": math.nan}
    try:
        values = decode()
    except DecodeError as error:
        reason = error.reason
    if reason:
        assert reason in REASONS
        return
    assert values
    for value in values.values():
        assert type(value) is float
        assert math.isfinite(value)


@pytest.mark.parametrize("name", CHIPS)
def test_nothing_but_a_decode_error_comes_of_any_bytes(name: str) -> None:
    chip, length = CHIPS[name], LENGTHS[name]

    @settings(
        max_examples=runs(1_000, 100_000), deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.binary(min_size=length, max_size=length) | st.binary(max_size=64))
    def holds(frame: bytes) -> None:
        tried(lambda: chip.decode(frame))

    holds()


LINES = w1_slave(scratchpad(0x0191), 25_062)


@settings(
    max_examples=runs(1_000, 100_000), deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(
    st.sampled_from(("10", "22", "28", "3b", "42", "zz")),
    st.sampled_from(("w1_slave", "temperature", "")),
    st.binary(max_size=80)
    | st.builds(
        lambda pad, milli: w1_slave(pad + bytes((thermometers.crc(pad),)), milli).encode(),
        st.binary(min_size=8, max_size=8), st.integers(-999_999_999, 999_999_999),
    )
    | st.builds(
        lambda at, byte: LINES[:at].encode() + byte + LINES[at + 1 :].encode(),
        st.integers(0, len(LINES)), st.binary(max_size=2),
    )
    | st.integers().map(lambda number: str(number).encode()),
)  # fmt: skip
def test_nothing_but_a_decode_error_comes_of_any_file(family: str, file: str, data: bytes) -> None:
    tried(lambda: decoded(family, file, data))


def test_a_frame_is_decoded_by_the_chip_that_it_comes_from() -> None:
    codec = ChipCodec({"outside": Sht3x(), "tank": Ads1115([Channel("level", 0, unit="cm")])})
    assert isinstance(codec, Addressed)
    assert isinstance(codec, Measured)
    assert codec.units("outside") == {"temperature": "°C", "humidity": "%"}
    # Where another source has the name, the device's id is another one.
    assert codec.units("tank-2") == {}
    (report,) = codec.addressed("tank", "tank-2", b"\x1f\x40", 0)
    assert report == ("", None, {"level": 1.0})
    assert codec.units("tank-2") == {"level": "cm"}
    assert list(codec.decode("tank-2", b"\x1f\x40", 0)) == [(None, {"level": 1.0})]
    assert refusal(lambda: codec.addressed("cellar", "cellar", b"", 0)) == "topic"
