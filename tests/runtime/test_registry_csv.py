"""The registry out as CSV and in again, over the command line of a whole gateway."""

import csv
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.runtime.test_managing import meet, say
from tests.support.gateway import Gateway, gateway
from tests.support.ports import free_port


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Gateway]:
    with gateway(tmp_path, broker={"port": free_port()}) as found:
        yield found


def table(house: Gateway) -> dict[str, dict[str, str]]:
    out = house.command("devices", "export")
    assert out.returncode == 0, out.stderr
    return {row["id"]: row for row in csv.DictReader(io.StringIO(out.stdout))}


def test_out_and_in_again(house: Gateway, tmp_path: Path) -> None:
    meet(house, "soil-1")
    house.command("devices", "rename", "soil-1", 'Beet "links", oben')
    house.command("devices", "tag", "soil-1", "a b", "c")
    before = table(house)
    assert before["soil-1"]["name"] == 'Beet "links", oben'
    file = tmp_path / "devices.csv"
    file.write_text(house.command("devices", "export").stdout)
    house.command("devices", "rename", "soil-1", "")
    house.command("devices", "tag", "soil-1")
    assert table(house)["soil-1"]["tags"] == ""
    done = house.command("devices", "import", str(file))
    assert done.returncode == 0, done.stderr
    after = table(house)
    assert after["soil-1"]["tags"] == "a b;c"
    assert {i: row["name"] for i, row in after.items()} == {
        i: row["name"] for i, row in before.items()
    }


def test_new_devices_are_met_under_the_id_they_were_given(house: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "fleet.csv"
    rows = [f"mqtt,Meter-{n},Zähler {n},adopted,site=north;row={n}" for n in range(450)]
    file.write_text("source,original,name,state,attributes\n" + "\n".join(rows))
    done = house.command("devices", "import", str(file))
    assert done.stdout == "450 rows taken, 450 new devices, 0 bad rows\n", done.stderr
    house.kill()
    house.start()
    say(house, "Meter-7", 1.0)
    house.wait(lambda: house.values("meter-7", "value") == [1.0])
    device = house.api("devices/meter-7")
    assert (device["name"], device["state"]) == ("Zähler 7", "adopted")
    assert device["attributes"] == {"site": "north", "row": "7"}
    assert len(table(house)) == 451


def test_bad_rows_are_told_by_their_line_and_the_others_are_taken(
    house: Gateway, tmp_path: Path
) -> None:
    meet(house, "soil-1")
    meet(house, "soil-2")
    file = tmp_path / "mixed.csv"
    file.write_text(
        "id,source,original,name,state\n"
        "soil-1,,,One,\n"
        "ghost,,,Ghost,\n"
        "soil-2,,,Two,sleeping\n"
        'soil-2,,,"Two\nlines",\n'
        ",mqtt,¿?,Nothing,\n"
        "other,mqtt,new-1,New,\n"
        "soil-2,coap,soil-2,Two,\n"
        "soil-2,,,Second,adopted\n"
    )
    checked = house.command("devices", "import", "--check", str(file))
    assert checked.returncode == 1
    assert table(house)["soil-1"]["name"] == ""
    done = house.command("devices", "import", str(file))
    assert done.returncode == 1
    told = [line.split(": ")[1].rsplit(":", 1)[1] for line in done.stderr.splitlines()]
    assert told == ["3", "4", "6", "7", "8", "9"], done.stderr
    found = table(house)
    assert found["soil-1"]["name"] == "One"
    assert (found["soil-2"]["name"], found["soil-2"]["state"]) == ("Second", "adopted")
    assert "ghost" not in found
    assert "2 rows taken" in done.stdout
    odd = tmp_path / "odd.csv"
    odd.write_text("id,nmae\nsoil-1,x\n")
    assert 'no column "nmae"' in house.command("devices", "import", str(odd)).stderr
    assert house.command("devices", "import", str(tmp_path / "none.csv")).returncode == 2


def complaints(done: subprocess.CompletedProcess[str]) -> list[tuple[str, str]]:
    """The line of each bad row, and what is wrong with it."""
    lines = [line.removeprefix("error: ") for line in done.stderr.splitlines()]
    return [(line.split(":")[1], line.split(": ", 1)[1]) for line in lines]


def test_a_row_with_a_field_too_many_is_one_bad_row(house: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "fleet.csv"
    rows = [f"mqtt,meter-{n},{'a,b' if n == 250 else 'a'}" for n in range(300)]
    file.write_text("source,original,name\n" + "\n".join(rows))
    done = house.command("devices", "import", str(file))
    assert complaints(done) == [("252", "more fields than the head has columns")]
    assert done.stdout == "299 rows taken, 299 new devices, 1 bad rows\n"
    assert done.returncode == 1


def test_a_check_finds_what_the_import_will_find(house: Gateway, tmp_path: Path) -> None:
    meet(house, "soil-1")
    file = tmp_path / "fleet.csv"
    file.write_text(
        "id,source,original,name\n"
        "soil-1,,,One\n"
        ",mqtt,!!!,a\n"
        "wrongid,mqtt,New Thing,b\n"
        ",mqtt,Good Thing,c\n"
        "good-thing,mqtt,Good Thing,d\n"
        ",typo,Foo,e\n"
    )
    checked = house.command("devices", "import", "--check", str(file))
    assert [line for line, _ in complaints(checked)] == ["3", "4", "7"], checked.stderr
    assert checked.stdout == "3 rows would be taken, 1 new devices, 3 bad rows\n"
    assert "good-thing" not in table(house)
    done = house.command("devices", "import", str(file))
    assert (done.stderr, done.returncode) == (checked.stderr, checked.returncode)
    assert done.stdout == "3 rows taken, 1 new devices, 3 bad rows\n"


def test_a_source_that_is_not_configured(house: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "fleet.csv"
    file.write_text("source,original,name\nmqtt,New,a\ntypo,Foo,b\n")
    done = house.command("devices", "import", str(file))
    why = 'no source "typo" is configured; there are mqtt, pi'
    assert complaints(done) == [("3", why)]
    # One that is known stays so, also when its source is gone.
    config = yaml.safe_load(house.config.read_text())
    config["devices"] = [{"type": "system", "id": "pi"}]
    house.config.write_text(yaml.safe_dump(config))
    assert house.command("reload").returncode == 0
    file.write_text("source,original,name\nmqtt,New,other\n")
    done = house.command("devices", "import", str(file))
    assert (done.returncode, table(house)["new"]["name"]) == (0, "other"), done.stderr


def test_a_file_that_is_written_another_way(house: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "fleet.csv"
    rows = [f"mqtt,meter-{n},{'Zähler' if n == 250 else 'a'}" for n in range(300)]
    file.write_bytes(("source,original,name\r\n" + "\r\n".join(rows)).encode("cp1252"))
    done = house.command("devices", "import", str(file))
    assert done.returncode == 2
    assert "line 252 is not UTF-8" in done.stderr
    assert 'fix: save it as "CSV UTF-8"' in done.stderr
    assert "200 rows were taken before" in done.stderr
    assert len(table(house)) == 201
    file.write_text("id;name;tags\npi;Beet;a\npi;Beet;b\n")
    done = house.command("devices", "import", str(file))
    assert done.returncode == 2
    assert done.stderr.startswith('error: line 1: the columns are divided by ";"')
    assert "fix: " in done.stderr
