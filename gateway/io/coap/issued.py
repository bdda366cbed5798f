"""Keys that were issued to CoAP devices while the gateway runs, kept in a file only we may read.

Both sides need the key itself: unlike a password it cannot be kept as a hash.
"""

import json
import os
import secrets
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gateway.core.errors import ConfigError, Unavailable

_SECRET, _SALT = 16, 8  # bytes
_MOST = 0xFFFF  # Sender IDs of devices: 1 to 65,535, in two bytes
_OURS = ""  # our Sender ID, which is nobody's: theirs are never empty
_MEMBERS = ("client_id", "server_id", "secret", "salt")


class IssuedKeys:
    """See the module. configured: devices and Sender IDs that the configuration has keys for."""

    def __init__(self, file: Path, configured: Mapping[str, str]) -> None:
        self._file = file
        self._configured = configured

    def read(self) -> dict[str, dict[str, str]]:
        """By device: client_id, server_id, secret, salt, in hexadecimal. Raises Unavailable where
        the file cannot be read: without it nobody would need a key."""
        try:
            found: Any = json.loads(self._file.read_text())
            return {
                device: {name: bytes.fromhex(key[name]).hex() for name in _MEMBERS}
                for device, key in found.items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Unavailable(
                f"{self._file}: {error}", fix="put it back, or remove it and issue all keys again"
            ) from error

    def issue(self, device: str) -> dict[str, str]:
        """A new key for a device, in place of the one it had. Raises ConfigError, Unavailable."""
        if device in self._configured:
            raise ConfigError(
                f"the configuration has a key for {device}", fix="change that one, or take it out"
            )
        keys = self.read()
        keys.pop(device, None)
        key = {
            "client_id": _free([key["client_id"] for key in keys.values()], self._configured),
            "server_id": _OURS,
            "secret": secrets.token_hex(_SECRET),
            "salt": secrets.token_hex(_SALT),
        }
        self._write({**keys, device: key})
        return key

    def revoke(self, device: str) -> None:
        """Its key is worth nothing any more. Raises ConfigError, Unavailable."""
        keys = self.read()
        if keys.pop(device, None) is None:
            raise ConfigError(f"no key was issued to {device}")
        self._write(keys)

    def _write(self, keys: Mapping[str, Mapping[str, str]]) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            new = self._file.with_name(self._file.name + ".new")
            new.unlink(missing_ok=True)
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(keys, file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._file)
        except OSError as error:
            raise Unavailable(f"{self._file}: {error.strerror}") from error


def _free(taken: Collection[str], configured: Mapping[str, str]) -> str:
    used = {*taken, *(each.lower() for each in configured.values())}
    for number in range(1, _MOST):
        if (found := f"{number:04x}") not in used:
            return found
    raise ConfigError("there are as many keys as there can be")
