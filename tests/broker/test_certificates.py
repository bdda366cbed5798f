"""Certificates are made, kept, renewed, and made again where they are damaged."""

import subprocess
from pathlib import Path

import pytest

from gateway.broker import certificates as module
from gateway.broker.certificates import Certificates, addresses
from gateway.core.errors import ConfigError


def text(file: Path) -> str:
    command = ["openssl", "x509", "-in", str(file), "-noout", "-text"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_made_once_and_for_every_name_of_this_machine(tmp_path: Path) -> None:
    made = Certificates(tmp_path, "gw")
    assert made.authority() is None
    assert made.ensure()
    assert not made.ensure()
    shown = text(made.file)
    for name in ("DNS:localhost", ".local", "IP Address:127.0.0.1", *addresses()[:1]):
        assert name in shown
    verify = ["openssl", "verify", "-CAfile", str(made.authority_file), str(made.file)]
    assert subprocess.run(verify, check=False).returncode == 0
    for private in ("ca.key", "server.key"):
        assert (tmp_path / private).stat().st_mode & 0o077 == 0
    authority = made.authority()
    assert authority is not None
    command = ["openssl", "x509", "-in", str(made.authority_file), "-noout", "-fingerprint"]
    said = subprocess.run([*command, "-sha256"], check=True, capture_output=True, text=True).stdout
    assert authority.fingerprint == said.strip().partition("=")[2]
    assert authority.pem.startswith("-----BEGIN CERTIFICATE-----")
    assert "CA:TRUE" in text(made.authority_file)
    assert list(tmp_path.glob("tmp*")) == []


@pytest.mark.parametrize("change", ["ends soon", "another address", "no key", "not a certificate"])
def test_the_brokers_own_is_renewed_and_devices_need_nothing_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    made = Certificates(tmp_path, "gw")
    if change == "ends soon":
        monkeypatch.setattr(module, "_SERVER_DAYS", 80)
    made.ensure()
    monkeypatch.undo()
    authority, before = made.authority(), made.file.read_text()
    if change == "another address":
        monkeypatch.setattr(module, "addresses", lambda: ["198.51.100.7"])
    elif change == "no key":
        made.key.unlink()
    elif change == "not a certificate":
        made.file.write_text("x")
    assert made.ensure()
    assert made.authority() == authority
    assert made.file.read_text() != before
    assert not made.ensure()


def test_an_authority_that_is_damaged_is_set_aside(tmp_path: Path) -> None:
    made = Certificates(tmp_path, "gw")
    made.ensure()
    made.authority_file.write_text("x")
    assert made.ensure()
    assert made.authority() is not None
    assert len(list(tmp_path.glob("ca.crt.damaged-*"))) == 1
    assert not made.ensure()


def test_nothing_is_dated_by_a_clock_that_is_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1_000.0)
    with pytest.raises(ConfigError, match="clock"):
        Certificates(tmp_path, "gw").ensure()


def test_without_openssl_the_fix_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(ConfigError, match="not installed") as refused:
        Certificates(tmp_path, "gw").ensure()
    assert "apt install openssl" in (refused.value.fix or "")
