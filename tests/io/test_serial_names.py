"""Which serial port is meant, and which there are."""

from pathlib import Path

import pytest

from gateway.core.errors import Unavailable
from gateway.io.serial.names import adapters, find, holder, known_as
from tests.support.cable import Cable
from tests.support.usb import adapter, gone


def test_what_is_here(tmp_path: Path) -> None:
    assert adapters(tmp_path) == []
    adapter(tmp_path, "ttyUSB0")
    board = tmp_path / "sys/class/tty"
    for name, kind in (("ttyS0", "0"), ("ttyAMA0", "32")):
        (board / name / "device").mkdir(parents=True)
        (board / name / "type").write_text(kind)
        (tmp_path / "dev" / name).touch()
    (board / "tty1").mkdir()  # a console: nothing is behind it
    onboard, usb = adapters(tmp_path)
    assert onboard.path == str(tmp_path / "dev/ttyAMA0")
    assert (onboard.vendor, onboard.link) == ("", "")
    assert (usb.vendor, usb.product, usb.serial) == ("0403", "6001", "A50285BI")
    assert usb.name == "FT232R USB UART"
    assert usb.link.endswith("dev/serial/by-id/usb-FTDI_A50285BI-if00-port0")
    assert known_as(usb.link, tmp_path) == usb


def test_a_port_that_is_not_there_says_which_are(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no serial port now"):
        find("/dev/ttyXYZ", root=tmp_path)
    adapter(tmp_path, "ttyUSB0")
    with pytest.raises(
        Unavailable, match=r"ttyXYZ is not there; here are: .*by-id/usb-FTDI"
    ) as said:
        find("/dev/ttyXYZ", root=tmp_path)
    assert said.value.fix


def test_by_usb(tmp_path: Path) -> None:
    first = adapter(tmp_path, "ttyUSB0")
    assert find("usb:0403:6001", root=tmp_path) == str(first)
    second = adapter(tmp_path, "ttyUSB1", "/dev/zero", "B1")
    assert find("usb:0403:6001:B1", root=tmp_path) == str(second)
    with pytest.raises(Unavailable, match=r"2 adapters are usb:0403:6001 .*A50285BI, B1"):
        find("usb:0403:6001", root=tmp_path)
    with pytest.raises(Unavailable, match="no adapter usb:1a86:7523 is there; here are"):
        find("usb:1a86:7523", root=tmp_path)


def test_the_same_adapter_under_another_name(tmp_path: Path) -> None:
    port = adapter(tmp_path, "ttyUSB0")
    before = known_as(str(port), tmp_path)
    gone(tmp_path, "ttyUSB0")
    moved = adapter(tmp_path, "ttyUSB1")
    assert find(str(port), before, tmp_path) == str(moved)
    # Another one has got the old name meanwhile; ours is told from it by its serial number.
    other = adapter(tmp_path, "ttyUSB0", "/dev/zero", "B1")
    assert find(str(port), before, tmp_path) == str(moved)
    # Ours is gone for good: what has been put in its place is taken.
    gone(tmp_path, "ttyUSB1")
    assert find(str(port), before, tmp_path) == str(other)


def test_adapters_without_a_serial_number_are_not_taken_for_each_other(tmp_path: Path) -> None:
    port = adapter(tmp_path, "ttyUSB0", serial="", ids="1a86:7523")
    before = known_as(str(port), tmp_path)
    gone(tmp_path, "ttyUSB0")
    moved = adapter(tmp_path, "ttyUSB1", serial="", ids="1a86:7523")
    assert find(str(port), before, tmp_path) == str(moved)
    adapter(tmp_path, "ttyUSB2", "/dev/zero", serial="", ids="1a86:7523")
    with pytest.raises(Unavailable, match="not there"):
        find(str(port), before, tmp_path)


def test_who_has_a_port(tmp_path: Path) -> None:
    import subprocess

    cable = Cable(tmp_path / "port").plug()
    assert holder(str(cable.link)) == ""
    with subprocess.Popen(["sleep", "30"], stdin=cable.link.open("rb", buffering=0)) as other:
        assert holder(str(cable.link)) == f"sleep ({other.pid})"
        other.kill()
    cable.unplug()
