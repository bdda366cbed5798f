"""Listeners of the embedded broker for the network: who may come in, and what they may do.

A user is one device: it writes below `devices/<user>/` and reports its state, it reads its own
commands, and nothing else. Its client id is its user name, so that it cannot take over the
session of another client, the gateway's own among them. The loopback listener has no part in
this: whoever is on this machine is let in as before.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from gateway.broker.accounts import Accounts, entries, text
from gateway.broker.certificates import Certificates
from gateway.broker.files import readable, set_aside, write
from gateway.broker.probing import refusal
from gateway.core.errors import ConfigError
from gateway.core.topics import Topics

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listener:
    """host: address to listen on. users: passwords by name, besides those of the command."""

    host: str
    port: int
    tls: bool = True
    users: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Lan:
    """See the module. configured: listeners of the configuration; others come by command and are
    kept in a file. trouble: why a listener is left out at the moment, by port. current: listeners
    as they were last prepared, for people."""

    def __init__(
        self, directory: Path, topics: Topics, configured: Sequence[Listener] = ()
    ) -> None:
        self.accounts = Accounts(directory / "users")
        self.certificates = Certificates(directory, topics.gateway)
        self.configured = tuple(configured)
        self.trouble: dict[int, str] = {}
        self.current: list[dict[str, Any]] = []
        self._directory = directory
        self._topics = topics
        self._file = directory / "listeners.json"

    def opened(self) -> list[Listener]:
        """The listeners that were opened by command. Raises OSError."""
        content = readable(self._file, "the listeners that were opened by command")
        if content is None:
            return []
        try:
            return msgspec.json.decode(content, type=list[Listener])
        except (msgspec.MsgspecError, RecursionError):
            set_aside(self._file, "is damaged", "the listeners; berrygate broker open")
            return []

    def open(self, listener: Listener) -> None:
        """Remember a listener, in place of those opened before. Raises OSError, ConfigError."""
        taken = {each.port for each in self.configured}
        if listener.port in taken:
            raise ConfigError(
                f"the configuration has a listener on port {listener.port}",
                fix="--port another, or change broker.listeners",
            )
        self.keep([listener])

    def keep(self, listeners: Sequence[Listener]) -> None:
        """Remember these and no others. Raises OSError."""
        shown = [{key: asdict(each)[key] for key in ("host", "port", "tls")} for each in listeners]
        write(self._file, msgspec.json.encode(shown).decode() + "\n")

    @property
    def listeners(self) -> list[Listener]:
        """All of them. Raises OSError."""
        ports = {each.port for each in self.configured}
        return [*self.configured, *(each for each in self.opened() if each.port not in ports)]

    def users(self) -> list[str]:
        """Every user there is. Raises OSError."""
        configured = (name for listener in self.configured for name in listener.users)
        return sorted({*self.accounts.read(), *configured})

    def prepare(self, probe: bool = True) -> str:
        """Write what mosquitto needs for the network; the lines of its configuration.

        One listener that cannot be had must not keep the others from starting: it is left out,
        and `trouble` says why. probe: whether the ports are looked at, which our own broker must
        not have then. Blocks.
        """
        sections = []
        trouble: dict[int, str] = {}
        listeners = self._known(trouble)
        for listener in listeners:
            try:
                reason = refusal(listener.host, listener.port) if probe else ""
                if not reason:
                    sections.append(self._section(listener))
            except (ConfigError, OSError) as error:
                reason = str(error)
            if reason:
                trouble[listener.port] = reason
                if self.trouble.get(listener.port) != reason:
                    log.error("broker: does not listen on %s: %s", listener, reason)
        self.trouble = trouble
        self.current = [self._shown(each) for each in listeners]
        return "".join(sections)

    def _known(self, trouble: dict[int, str]) -> list[Listener]:
        try:
            return self.listeners
        except OSError as error:
            trouble[0] = f"{self._file}: {error.strerror}"
            log.error("broker: cannot read its listeners: %s", trouble[0])
            return list(self.configured)

    def _section(self, listener: Listener) -> str:
        passwords = self._directory / f"listener-{listener.port}.users"
        rules = self._directory / "lan.acl"
        before = Accounts(passwords).read()
        users = self.accounts.read() | entries(listener.users, before)
        write(passwords, text(users))
        write(rules, self._rules())
        lines = [
            f"listener {listener.port} {listener.host}",
            "allow_anonymous false",
            f"password_file {passwords}",
            f"acl_file {rules}",
            "use_username_as_clientid true",
        ]
        if listener.tls:
            self.certificates.ensure()
            lines += [
                f"certfile {self.certificates.file}",
                f"keyfile {self.certificates.key}",
                "tls_version tlsv1.2",
            ]
        return "\n".join(lines) + "\n"

    def _rules(self) -> str:
        own = f"{self._topics.root}/{self._topics.gateway}"
        return (
            "pattern readwrite devices/%u/#\n"
            f"pattern readwrite {own}/reported/%u/#\n"
            f"pattern read {own}/cmd/%u/#\n"
            f"pattern read {own}/desired/%u/#\n"
        )

    def _shown(self, listener: Listener) -> dict[str, Any]:
        return {
            "host": listener.host,
            "port": listener.port,
            "tls": listener.tls,
            "from": "configuration" if listener in self.configured else "command",
            "trouble": self.trouble.get(listener.port),
        }
