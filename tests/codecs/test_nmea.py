"""NMEA 0183 sentences as receivers and instruments send them."""

import time
from contextlib import suppress
from functools import reduce
from operator import xor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.codecs.nmea import NmeaSettings
from gateway.codecs.nmea_names import NAMED, UNITS
from gateway.core.errors import DecodeError
from tests.support.faults import runs, seeded

NOW = 1_763_680_000_000_000_000
RMC = "GPRMC,123519.25,A,4807.038,N,01131.000,E,022.4,084.4,230326,003.1,W"
RMC_TIME = 1_774_269_319_250_000_000  # 2026-03-23T12:35:19.25Z


def sentence(body: str) -> bytes:
    return f"${body}*{reduce(xor, body.encode(), 0):02X}".encode()


def decoded(payload: bytes, **settings: Any) -> list[tuple[int | None, dict[str, Any]]]:
    return list(NmeaSettings.model_validate(settings).build().decode("gps", payload, NOW))


@pytest.mark.parametrize(
    ("body", "time", "values"),
    [
        (RMC, RMC_TIME,
         {"valid": True, "latitude": 48.1173, "longitude": 11.51666667, "speed": 22.4,
          "course": 84.4, "variation": -3.1}),
        ("GNRMC,001031.00,A,4404.13993,S,12118.86023,W,0.146,,100117,,,A", None,
         {"valid": True, "latitude": -44.06899883, "longitude": -121.31433717, "speed": 0.146}),
        ("GPRMC,123519,V,,,,,,,230326,,", None, {"valid": False}),
        ("GPRMC,235960,A,,,,,,,311226,,", 1_798_761_600_000_000_000, {"valid": True}),
        ("GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,", None,
         {"latitude": 48.1173, "longitude": 11.51666667, "fix": 1.0, "satellites": 8.0, "hdop": 0.9,
          "altitude": 545.4, "geoid": 46.9}),
        ("GPGGA,,,,,,0,00,99.99,,,,,,", None, {"fix": 0.0, "satellites": 0.0}),
        ("GPGSA,A,3,04,05,,09,12,,,24,,,,,2.5,1.3,2.1", None,
         {"fix.mode": 3.0, "pdop": 2.5, "hdop": 1.3, "vdop": 2.1}),
        ("GPVTG,054.7,T,034.4,M,005.5,N,010.2,K", None,
         {"course": 54.7, "course.magnetic": 34.4, "speed": 5.5}),
        ("GPGLL,4916.45,N,12311.12,W,225444,A", None,
         {"latitude": 49.27416667, "longitude": -123.18533333}),
        ("WIMWV,214.8,R,10.0,M,A", None,
         {"wind.relative.angle": 214.8, "wind.relative.speed": 19.438445}),
        ("WIMWV,10,T,1.852,K,A", None, {"wind.true.angle": 10.0, "wind.true.speed": 1.0}),
        ("SDDBT,7.8,f,2.4,M,1.3,F", None, {"depth": 2.4}),
        ("SDDPT,2.4,-0.3,100", None, {"depth": 2.4, "depth.offset": -0.3}),
        ("HEHDT,274.07,T", None, {"heading": 274.07}),
        ("HCHDG,98.3,0.0,E,12.6,W", None,
         {"heading.magnetic": 98.3, "deviation": 0.0, "variation": -12.6}),
        ("TIROT,-12.5,A", None, {"turn_rate": -12.5}),
        ("YXMTW,17.75,C", None, {"water.temperature": 17.75}),
        ("WIMDA,29.9870,I,1.0155,B,22.0,C,,,50.5,,11.2,C,,,,,,,,", None,
         {"air.pressure": 1015.5, "air.temperature": 22.0, "air.humidity": 50.5,
          "air.dew_point": 11.2}),
        ("IIXDR,C,19.52,C,TempAir,P,1.02481,B,Baro meter", None,
         {"xdr.TempAir": 19.52, "xdr.Baro_meter": 1.02481}),
        ("ERRPM,E,1,2418.2,10.5,A", None, {"engine.1.rpm": 2418.2, "engine.1.pitch": 10.5}),
    ],
)  # fmt: skip
def test_good(body: str, time: int | None, values: dict[str, Any]) -> None:
    assert decoded(sentence(body)) == [(time, pytest.approx(values))]


@pytest.mark.parametrize(
    "body",
    ["GPGSV,3,1,11,03,03,111,00", "GPTXT,01,01,02,u-blox ag - www.u-blox.com", "PGRMZ,246,f,3",
     "TIROT,5,V", "WIMWV,1,R,1,N,V", "GPGLL,,,,,,V", "GPVTG,,,,,,,,,N", "HEHDT,,T", "GPZDA,,,,,,"],
)  # fmt: skip
def test_says_nothing(body: str) -> None:
    assert decoded(sentence(body)) == []


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"), (b" \r\n", "empty"), (b"$", "malformed"), (b"hello", "malformed"),
        (b"$GPRMC", "checksum"), (b"$GPHDT,1,T", "checksum"), (b"$GPHDT,1,T*00", "checksum"),
        (b"$GPHDT,1,T*0", "malformed"), (b"$GPHDT,1,T*0FF", "malformed"),
        (b"$GPHDT,\xff,T*00", "malformed"), (sentence("GPHDT,x,T"), "malformed"),
        (sentence("GPHDT,nan,T"), "malformed"), (sentence("GPHDT,1e5,T"), "malformed"),
        (sentence("GPHDT," + "9" * 400 + ",T"), "malformed"), (b"$" + b"A" * 2000, "too_long"),
        (sentence("GPGLL,9100.0,N,00000.0,E,,A"), "malformed"),
        (sentence("GPGLL,4960.0,N,00000.0,E,,A"), "malformed"),
        (sentence("GPGLL,4916.45,X,12311.12,W,,A"), "malformed"),
        (sentence("GPRMC,253519,A,,,,,,,230326,,"), "time"),
        (sentence("GPRMC,123519,A,,,,,,,991326,,"), "time"),
        (sentence("GPRMC,123519,A,,,,,,,2303,,"), "time"),
        (sentence("WIMWV,1,R,1,Q,A"), "malformed"),
        (b"\n".join([sentence("HEHDT,1,T")] * 101), "too_many"),
    ],
)  # fmt: skip
def test_bad(payload: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as refused:
        decoded(payload)
    assert refused.value.reason == reason


@given(st.sampled_from(sorted(NAMED)), st.integers(0, 200), st.integers(0, 255))
def test_one_wrong_byte_is_noticed(kind: str, place: int, byte: int) -> None:
    good = bytearray(sentence(f"GP{kind},1,A,3,N,5,E,7,8,9,1,2,3"))
    place = 1 + place % (len(good) - 1)  # a "!" at the beginning is as good as a "$"
    if good[place] == byte or chr(byte).lower() == chr(good[place]).lower():
        return
    good[place] = byte
    with pytest.raises(DecodeError):
        decoded(bytes(good))


def test_a_receiver_that_counted_its_weeks_over_has_our_time() -> None:
    body = RMC.replace("230326", "070806")  # 1,024 weeks before 2026-03-23
    assert decoded(sentence(body))[0][0] is None
    assert decoded(sentence(RMC.replace("230326", "230399")))[0][0] is None


def test_several_sentences_are_several_reports_and_taken_whole_or_not() -> None:
    both = sentence("HEHDT,1,T") + b"\r\n" + sentence("SDDBT,,f,2.4,M,,F") + b"\r\n"
    assert decoded(both) == [(None, {"heading": 1.0}), (None, {"depth": 2.4})]
    with pytest.raises(DecodeError):
        decoded(both + b"$HEHDT,2,T*00")


def test_what_is_not_known_can_be_named() -> None:
    named = {"PGRME": ["accuracy.horizontal", "", "accuracy.vertical"], "ZZZ": ["mode", "level"]}
    assert decoded(sentence("PGRME,15.0,M,45.0,M,25.0,M"), sentences=named) == [
        (None, {"accuracy.horizontal": 15.0, "accuracy.vertical": 45.0})
    ]
    assert decoded(sentence("IIZZZ,auto,3"), sentences=named) == [
        (None, {"mode": "auto", "level": 3.0})
    ]
    with pytest.raises(ValidationError, match="no sentence"):
        NmeaSettings(sentences={"pgrme": ("x",)})


def test_without_a_checksum_where_that_is_meant() -> None:
    assert decoded(b"$HEHDT,1,T", checksum=False) == [(None, {"heading": 1.0})]
    with pytest.raises(DecodeError):
        decoded(b"$HEHDT,1,T*00", checksum=False)


def test_what_nmea_4_puts_in_front_is_no_part_of_it() -> None:
    assert decoded(b"\\s:GP,c:1700000000*0A\\" + sentence("HEHDT,1,T")) == [
        (None, {"heading": 1.0})
    ]


def test_every_metric_has_a_unit_or_is_a_count() -> None:
    counts = {"fix", "fix.mode", "satellites", "hdop", "pdop", "vdop"}
    metrics = {column.metric for columns in NAMED.values() for column in columns if column.metric}
    assert metrics - UNITS.keys() == counts


def test_nothing_but_a_decode_error_and_that_soon() -> None:
    chance, worst, taken = seeded(), 0.0, 0
    kinds = [*NAMED, "RMC", "GGA", "GLL", "MWV", "RPM", "XDR", "ZZZ"]
    fields = ["", "A", "V", "T", "1.5", "-3", "4807.038", "N", "W", "123519", "230326", "x",
              "9" * 300, "é", "1" * 20 + "." + "1" * 20, "..", "-", "{", "%s"]  # fmt: skip
    codec = NmeaSettings(sentences={"ZZZ": ("a", "b")}).build()
    for _ in range(runs(500, 100_000)):
        body = ",".join(
            [f"GP{chance.choice(kinds)}", *chance.choices(fields, k=chance.randrange(20))]
        )
        payload = bytearray(sentence(body))
        if chance.random() < 0.3:
            for _ in range(chance.randrange(1, 4)):
                payload[chance.randrange(len(payload))] = chance.randrange(256)
        elif chance.random() < 0.1:
            payload = bytearray(chance.randbytes(chance.randrange(4096)))
        began = time.thread_time()
        with suppress(DecodeError):
            taken += bool(list(codec.decode("gps", bytes(payload), NOW)))
        worst = max(worst, time.thread_time() - began)
    print(f"worst: {worst * 1e3:.2f} ms, {taken} taken")
    assert taken
    assert worst <= 0.05
