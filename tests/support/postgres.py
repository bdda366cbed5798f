"""A real PostgreSQL in a directory of its own, on loopback, with TLS and a password."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.support.certificates import certificates
from tests.support.ports import free_port, wait_for_port

PASSWORD = "sesame"


def _bin() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    if on_path is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    return Path(on_path).parent


def _user() -> str | None:
    """It does not run as root: who it runs as then."""
    if os.geteuid():
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return "nobody"


class Postgres:
    """A server that can be stopped and started again with its data. dsn: how a client reaches it,
    with a password and TLS; its table is `readings (device text, at bigint, value float8)`."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._data = directory / "data"
        self._directory = directory
        self._bin, self._user = _bin(), _user()
        self.dsn = (
            f"host=127.0.0.1 port={self.port} user=gateway password={PASSWORD} dbname=postgres "
            "sslmode=require gssencmode=disable connect_timeout=5"
        )
        self._make()

    def _make(self) -> None:
        secret = self._directory / "secret"
        secret.write_text(PASSWORD)
        certificates(self._directory)
        if self._user:
            for path in (self._directory, *self._directory.iterdir()):
                shutil.chown(path, self._user)
        subprocess.run(
            [self._bin / "initdb", "-D", self._data, "-U", "gateway", "-A", "scram-sha-256",
             "--pwfile", secret, "--no-sync", "-E", "UTF8", "--no-locale"],
            check=True, capture_output=True, user=self._user, cwd=self._directory,
        )  # fmt: skip
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.write(
                f"port={self.port}\nlisten_addresses='127.0.0.1'\nunix_socket_directories=''\n"
                f"ssl=on\nssl_cert_file='{self._directory}/server.crt'\n"
                f"ssl_key_file='{self._directory}/server.key'\nmax_connections=130\n"
                "synchronous_commit=off\nfsync=off\nlogging_collector=off\n"
            )

    def start(self) -> "Postgres":
        """Start and wait until it answers."""
        self.process = subprocess.Popen(
            [self._bin / "postgres", "-D", self._data], user=self._user, cwd=self._directory,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for_port(self.port, self.process)
        deadline = time.monotonic() + 30
        while True:  # it listens before it takes anybody
            try:
                psycopg.connect(self.dsn).close()
                return self
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def stop(self) -> None:
        """At once, every connection with it; what was written stays."""
        if self.process is not None:
            self.process.send_signal(2)  # SIGINT: "fast"
            self.process.wait(20)
            self.process = None

    def connections(self) -> int:
        """Of others, as the server counts them."""
        query = (
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return int(self.ask(query))

    def ask(self, query: str) -> int:
        """A number."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            row = connection.execute(query.encode()).fetchone()
            assert row is not None
            return int(row[0])


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A running one. Its directory is below /tmp: the user it runs as may not enter pytest's."""
    directory = Path(tempfile.mkdtemp(prefix="berrygate-pg-"))
    try:
        server = Postgres(directory).start()
        try:
            with psycopg.connect(server.dsn, autocommit=True) as connection:
                connection.execute("CREATE TABLE readings (device text, at bigint, value float8)")
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory)
