"""Who may come in from the network: names and hashed passwords, in mosquitto's own format."""

import base64
import binascii
import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.broker.files import readable, write
from gateway.core.errors import ConfigError

log = logging.getLogger(__name__)

_ROUNDS = 1_000  # of a password that somebody thought of
_GENERATED = 20
"""Rounds for one that nobody can guess, however fast they are tried. The broker does them for each
client that connects, and for all that are connected whenever it reads its users again: 1,000 for
each of 10,000 would stop it for 10 s."""
_LENGTH = 20  # letters and digits of a generated password: 119 bits
_LETTERS = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that look alike


def generated() -> str:
    """A password nobody can guess, and that can be typed."""
    return "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


def hashed(password: str, rounds: int = _ROUNDS) -> str:
    """`$7$rounds$salt$hash`: PBKDF2 with SHA-512, as mosquitto_passwd(1) writes it."""
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds)
    return f"$7${rounds}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def matches(password: str, entry: str) -> bool:
    """Whether `entry` is a hash of `password`."""
    try:
        _, kind, rounds, salt, digest = entry.split("$")
        found = hashlib.pbkdf2_hmac(
            "sha512", password.encode(), base64.b64decode(salt), int(rounds)
        )
        return kind == "7" and hmac.compare_digest(found, base64.b64decode(digest))
    except (ValueError, binascii.Error):
        return False


class Accounts:
    """The users made by command, in a file that mosquitto can read too."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, str]:
        """Name -> hash. A line that is none is left out, with a warning. Raises OSError."""
        text = readable(self._path, "the users of the network listeners; add them again")
        found, bad = {}, 0
        for line in (text or "").splitlines():
            name, colon, entry = line.partition(":")
            if colon and name and entry.startswith("$7$"):
                found[name] = entry
            else:
                bad += 1
        if bad:
            log.warning("broker: %s: %d line(s) are no user and are left out", self._path, bad)
        return found

    def add(self, name: str) -> str:
        """A new user; the generated password, which is kept nowhere. Raises ConfigError where
        there is one of that name."""
        users = self.read()
        if name in users:
            raise ConfigError(
                f'there is a user "{name}" already', fix=f"berrygate broker users password {name}"
            )
        return self._set(users, name)

    def issue(self, names: Sequence[str]) -> dict[str, str]:
        """New users, all of them or none; their generated passwords. Raises ConfigError where there
        is one of these names already."""
        users = self.read()
        if taken := sorted(users.keys() & set(names)):
            raise ConfigError(
                f"there are credentials of {', '.join(taken[:10])} already",
                fix=f"berrygate devices credentials rotate {taken[0]}",
            )
        passwords = {name: generated() for name in names}
        self._write(users | {name: hashed(each, _GENERATED) for name, each in passwords.items()})
        return passwords

    def revoke(self, names: Sequence[str]) -> None:
        """Let these in no more. Raises ConfigError where one of them is none."""
        users = self.read()
        for name in names:
            self._known(users, name)
        self._write({name: entry for name, entry in users.items() if name not in names})

    def renew(self, name: str) -> str:
        """Another password for a user. Raises ConfigError where there is none of that name."""
        users = self.read()
        self._known(users, name)
        return self._set(users, name)

    def remove(self, name: str) -> None:
        """Let a user in no more. Raises ConfigError where there is none of that name."""
        users = self.read()
        self._known(users, name)
        del users[name]
        self._write(users)

    def _set(self, users: dict[str, str], name: str) -> str:
        password = generated()
        users[name] = hashed(password, _GENERATED)
        self._write(users)
        return password

    def _known(self, users: Mapping[str, str], name: str) -> None:
        if name not in users:
            known = ", ".join(sorted(users)) or "none"
            raise ConfigError(
                f'no user "{name}" that was added by command (there are: {known})',
                fix="berrygate broker users list",
            )

    def _write(self, users: Mapping[str, str]) -> None:
        write(self._path, text(users))


def text(users: Mapping[str, str]) -> str:
    """Users as a password file."""
    return "".join(f"{name}:{entry}\n" for name, entry in sorted(users.items()))


def entries(passwords: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
    """Hashes of passwords in the clear; those that `before` has already, so that a file is not
    written again at each start."""
    return {
        name: before[name] if matches(password, before.get(name, "")) else hashed(password)
        for name, password in passwords.items()
    }
