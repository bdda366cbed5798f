"""The keys of one source's devices: those of its configuration, and those issued while it runs."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.core.errors import ConfigError, Unavailable
from gateway.io.coap.issued import IssuedKeys
from gateway.io.coap.settings import KeySettings
from gateway.io.coap.site import Site


class Keyring:
    """See the module. source: its name. issuing: keys may be issued. directory: where those are
    kept, and the numbers that were used with each."""

    def __init__(
        self, source: str, configured: Sequence[KeySettings], issuing: bool, directory: Path
    ) -> None:
        self._source = source
        self._configured = configured
        self._issuing = issuing
        self._directory = directory
        ids = {key.device: key.client_id for key in configured}
        self._issued = IssuedKeys(directory / "keys.json", ids)
        self._protected: Any = None  # while it is served

    @contextmanager
    def protected(self, site: Site) -> Iterator[Any]:
        """The site as it is to be served: where there are keys, to who has one only. Raises
        Unavailable where the keys cannot be read."""
        if not (self._configured or self._issuing):
            yield site
            return
        from gateway.io.coap.oscore import Protected  # needs more libraries

        keys = {
            key.device: _key(key.client_id, key.server_id, key.secret.get_secret_value(), key.salt)
            for key in self._configured
        }
        if self._issuing:
            keys = {device: _key(**key) for device, key in self._issued.read().items()} | keys
        self._protected = Protected(site, keys, self._directory)
        try:
            yield self._protected
        finally:
            self._protected.close()
            self._protected = None

    def devices(self) -> Sequence[str]:
        """See gateway.core.keys.Keyed."""
        return sorted(self._issued.read()) if self._issuing else ()

    def issue(self, device: str, trouble: str) -> Mapping[str, str]:
        """See gateway.core.keys.Keyed. trouble: why nothing is served, if nothing is."""
        protected = self._served(trouble)
        key = self._issued.issue(device)
        protected.admit(device, _key(**key))
        return key

    def revoke(self, device: str, trouble: str) -> None:
        """See gateway.core.keys.Keyed. trouble: as for `issue`."""
        protected = self._served(trouble)
        self._issued.revoke(device)
        protected.expel(device)

    def _served(self, trouble: str) -> Any:
        if not self._issuing:
            raise ConfigError(
                f"source {self._source} issues no keys", fix="set issued_keys: true there"
            )
        if self._protected is None:
            raise Unavailable(f"source {self._source} does not listen: {trouble}")
        return self._protected


def _key(client_id: str, server_id: str, secret: str, salt: str) -> Any:
    from gateway.io.coap.oscore import Key

    return Key(*map(bytes.fromhex, (client_id, server_id, secret, salt)))
