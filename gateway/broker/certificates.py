"""An authority of our own and the broker's certificate by it, made with openssl.

Devices are given the authority's certificate once, so it lives long; the broker's own lives
short, is renewed before it ends, and also when this machine's name or addresses change.
"""

import hashlib
import ipaddress
import logging
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from gateway.broker.files import set_aside, write
from gateway.core.errors import ConfigError

log = logging.getLogger(__name__)

_AUTHORITY_DAYS = 20 * 365
_SERVER_DAYS = 2 * 365
_RENEW_DAYS = 90
_EARLIEST = 1_704_067_200  # 2024: a clock before that is not set, and would date certificates so
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_AUTHORITY = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n"
_SERVER = "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n"


@dataclass(frozen=True, slots=True)
class Authority:
    """What a device must be given. fingerprint: SHA-256 of the certificate, as browsers show it."""

    file: Path
    pem: str
    fingerprint: str


def addresses() -> list[str]:
    """This machine's addresses that others can use, IPv4 first."""
    found = set()
    for entries in psutil.net_if_addrs().values():
        for entry in entries:
            if entry.family in (socket.AF_INET, socket.AF_INET6):
                address = ipaddress.ip_address(entry.address.partition("%")[0])
                if not address.is_loopback and not address.is_link_local:
                    found.add(address)
    return [str(each) for each in sorted(found, key=lambda each: (each.version, int(each)))]


def ends_at(file: Path) -> float | None:
    """When the certificate in a file ends (s since the epoch); None where that cannot be told.
    Blocks."""
    try:
        said = _openssl("x509", "-in", str(file), "-noout", "-enddate", check=False)
        return float(ssl.cert_time_to_seconds(said.strip().partition("=")[2])) if said else None
    except (ConfigError, ValueError):
        return None


class Certificates:
    """Certificates and keys in one directory."""

    def __init__(self, directory: Path, gateway: str) -> None:
        self.authority_file = directory / "ca.crt"
        self.file = directory / "server.crt"
        self.key = directory / "server.key"
        self._authority_key = directory / "ca.key"
        self._gateway = gateway

    def authority(self) -> Authority | None:
        """The authority, if there is one."""
        try:
            pem = self.authority_file.read_text()
            der = ssl.PEM_cert_to_DER_cert(pem)
        except (OSError, ValueError):
            return None
        digits = hashlib.sha256(der).hexdigest().upper()
        return Authority(self.authority_file, pem, ":".join(re.findall("..", digits)))

    def ensure(self) -> bool:
        """Have certificates that can be used for a while; True if the broker's is a new one.

        Blocks. Raises ConfigError, OSError.
        """
        names = self._names()
        if self._authority_works() and self._server_works(names):
            return False
        if time.time() < _EARLIEST:
            raise ConfigError(
                "the clock is not set, and a certificate made now would never be valid",
                fix="wait until the clock is set (timedatectl), or set it",
            )
        if not self._authority_works():
            self._make_authority()
        self._make_server(names)
        return True

    def _names(self) -> list[str]:
        host = socket.gethostname().split(".")[0]
        hosts = [f"DNS:{name}" for name in (host, f"{host}.local", "localhost")]
        return [*hosts, *(f"IP:{each}" for each in ("127.0.0.1", "::1", *addresses()))]

    def _authority_works(self) -> bool:
        return _pair(self.authority_file, self._authority_key)

    def _server_works(self, names: list[str]) -> bool:
        if not _pair(self.file, self.key):
            return False
        ahead = str(_RENEW_DAYS * 86_400)
        checks = (
            ("verify", "-CAfile", str(self.authority_file), str(self.file)),
            ("x509", "-in", str(self.file), "-noout", "-checkend", ahead),
        )
        if any(_openssl(*check, check=False) is None for check in checks):
            return False
        said = _openssl("x509", "-in", str(self.file), "-noout", "-ext", "subjectAltName") or ""
        told = re.findall(r"(DNS|IP Address):([^,\s]+)", said)
        have = {_same(kind.removesuffix(" Address"), value) for kind, value in told}
        return {_same(*name.split(":", 1)) for name in names} <= have

    def _make_authority(self) -> None:
        for path in (self.authority_file, self._authority_key):
            if path.exists():
                set_aside(path, "cannot be used", "the trust of devices; give them the new ca.crt")
        with tempfile.TemporaryDirectory(dir=self.file.parent) as scratch:
            certificate, key = Path(scratch, "crt"), Path(scratch, "key")
            settings = Path(scratch, "settings")
            settings.write_text(
                f"[req]\ndistinguished_name=name\nx509_extensions=own\n[name]\n[own]\n{_AUTHORITY}"
            )
            _openssl(
                "req", "-x509", *_KEY, "-config", str(settings), "-days", str(_AUTHORITY_DAYS),
                "-subj", f"/CN=Berrygate {self._gateway[:40]}",
                "-keyout", str(key), "-out", str(certificate),
            )  # fmt: skip
            write(self._authority_key, key.read_text())
            write(self.authority_file, certificate.read_text(), 0o644)
        log.info("broker: made a certificate authority, %s", self.authority_file)

    def _make_server(self, names: list[str]) -> None:
        for path in (self.file, self.key):
            if path.is_dir():
                set_aside(path, "is a directory", "nothing; it is made again")
        with tempfile.TemporaryDirectory(dir=self.file.parent) as scratch:
            request, certificate = Path(scratch, "csr"), Path(scratch, "crt")
            key, settings = Path(scratch, "key"), Path(scratch, "settings")
            settings.write_text("[req]\ndistinguished_name=name\n[name]\n")
            _openssl(
                "req", "-new", *_KEY, "-config", str(settings),
                "-subj", f"/CN={socket.gethostname()[:60]}",
                "-keyout", str(key), "-out", str(request),
            )  # fmt: skip
            settings.write_text(f"{_SERVER}subjectAltName={','.join(names)}\n")
            _openssl(
                "x509", "-req", "-in", str(request), "-CA", str(self.authority_file),
                "-CAkey", str(self._authority_key), "-days", str(_SERVER_DAYS),
                "-set_serial", str(time.time_ns()),
                "-extfile", str(settings), "-out", str(certificate),
            )  # fmt: skip
            write(self.key, key.read_text())
            write(self.file, certificate.read_text(), 0o644)
        log.info("broker: made a certificate for %s", ", ".join(names))


def _pair(certificate: Path, key: Path) -> bool:
    """Whether both can be read and belong together."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except OSError:
        return False
    return True


def _same(kind: str, value: str) -> tuple[str, str]:
    """A name in one spelling: openssl writes IPv6 addresses in full."""
    return kind, str(ipaddress.ip_address(value)) if kind == "IP" else value.lower()


def _openssl(*arguments: str, check: bool = True) -> str | None:
    """What openssl said; None where it failed and `check` is off. Raises ConfigError."""
    binary = shutil.which("openssl")
    if binary is None:
        raise ConfigError(
            "certificates are made with openssl, which is not installed",
            fix="sudo apt install openssl, or berrygate broker open --no-tls",
        )
    done = subprocess.run([binary, *arguments], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    if not check:
        return None
    reason = done.stderr.strip().splitlines()
    raise ConfigError(
        f"openssl {arguments[0]} failed: {reason[-1] if reason else 'no reason given'}",
        fix="see that the disk has room, or berrygate broker open --no-tls",
    )
