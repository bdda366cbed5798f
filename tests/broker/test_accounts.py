"""Users are kept so that a real mosquitto takes them."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from gateway.broker import accepts
from gateway.broker.accounts import Accounts, entries, generated, hashed, matches
from gateway.core.contracts import Endpoint
from gateway.core.errors import ConfigError
from tests.support.mosquitto import mosquitto


def test_a_real_mosquitto_takes_our_hashes_and_nobody_else(tmp_path: Path) -> None:
    file = tmp_path / "users"
    password = Accounts(file).add("scale")
    with mosquitto(tmp_path / "broker", f"allow_anonymous false\npassword_file {file}") as broker:
        for name, word, let_in in (
            ("scale", password, True),
            ("scale", password[:-1], False),
            ("other", password, False),
            ("", "", False),
        ):
            endpoint = Endpoint(port=broker.port, username=name, password=word)
            assert asyncio.run(accepts(endpoint)) is let_in, name


def test_we_take_what_mosquitto_passwd_writes(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.touch(0o600)
    subprocess.run(["mosquitto_passwd", "-b", file, "scale", "secret"], check=True)
    entry = Accounts(file).read()["scale"]
    assert matches("secret", entry)
    assert not matches("Secret", entry)
    Accounts(file).add("pump")
    assert matches("secret", Accounts(file).read()["scale"])


def test_passwords_are_told_once_and_kept_nowhere(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path / "users")
    first = accounts.add("scale")
    assert first not in (tmp_path / "users").read_text()
    assert (tmp_path / "users").stat().st_mode & 0o077 == 0
    second = accounts.renew("scale")
    assert first != second
    assert matches(second, accounts.read()["scale"])
    accounts.remove("scale")
    assert accounts.read() == {}
    assert len({generated() for _ in range(100)}) == 100


@pytest.mark.parametrize("act", ["renew", "remove"])
def test_an_unknown_user_is_named(tmp_path: Path, act: str) -> None:
    accounts = Accounts(tmp_path / "users")
    accounts.add("scale")
    with pytest.raises(ConfigError, match="scale"):
        getattr(accounts, act)("pump")
    with pytest.raises(ConfigError, match="already"):
        accounts.add("scale")


@pytest.mark.parametrize("damage", [b"scale", b"\xff\xfe\x00", b"scale:plain\n:x\n\n"])
def test_a_damaged_file_costs_its_bad_lines_and_no_more(tmp_path: Path, damage: bytes) -> None:
    file = tmp_path / "users"
    file.write_bytes(damage)
    accounts = Accounts(file)
    assert accounts.read() == {}
    word = accounts.add("pump")
    assert matches(word, accounts.read()["pump"])


def test_a_hash_that_fits_is_kept() -> None:
    """Else the file would be written again at every start."""
    before = {"scale": hashed("one"), "pump": hashed("two")}
    after = entries({"scale": "one", "pump": "three"}, before)
    assert after["scale"] == before["scale"]
    assert after["pump"] != before["pump"]
    assert not matches("x", "$7$1$not base64$x")
    assert not matches("x", "")


def test_a_generated_password_costs_the_broker_little(tmp_path: Path) -> None:
    """It is checked for each connected client whenever the broker reads its users again."""
    accounts = Accounts(tmp_path / "users")
    accounts.add("one")
    accounts.issue(["two", "three"])
    accounts.renew("two")
    rounds = [int(entry.split("$")[2]) for entry in accounts.read().values()]
    assert len(rounds) == 3
    assert max(rounds) <= 20
    with pytest.raises(ConfigError, match="two"):
        accounts.issue(["four", "two"])
    with pytest.raises(ConfigError, match="four"):
        accounts.revoke(["one", "four"])
    assert accounts.read().keys() == {"one", "two", "three"}
    accounts.revoke(["one", "two"])
    assert accounts.read().keys() == {"three"}
