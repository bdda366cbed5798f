"""A configuration on trial: unless it is kept in time the one before it is in use again, also
when the gateway, or the machine, went down in between."""

import hashlib
import json
import logging
import os
from pathlib import Path

from gateway.config.load import load
from gateway.config.models import Config
from gateway.core.errors import ConfigError

log = logging.getLogger(__name__)


class Trial:
    """Two files in a directory of the gateway's own: `kept.yaml`, the last configuration that was
    in use and not on trial, and `refused`, which tells the file on trial by its hash for as long
    as it is on trial, and after it was not kept."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._kept = directory / "kept.yaml"
        self._refused = directory / "refused"

    def begin(self, file: Path) -> None:
        """`file` is on trial from now on. Raises OSError."""
        self._write(self._refused, json.dumps({"sha256": _hash(file)}).encode())

    def keep(self, file: Path | None) -> None:
        """`file` is to be gone back to from now on; no other is on trial. A disk that refuses is
        no reason not to run."""
        try:
            if file is not None:
                self._write(self._kept, file.read_bytes())
            self._refused.unlink(missing_ok=True)
        except OSError as error:
            log.warning("config: cannot note which one is in use: %s", error)

    @property
    def possible(self) -> bool:
        """Whether there is a configuration to go back to."""
        return self._kept.is_file()

    def kept(self, file: Path) -> Config:
        """The configuration to go back to; `file`: in whose place. Raises InvalidConfig."""
        return load(self._kept, base=file.parent)

    def instead_of(self, config: Config, file: Path | None) -> Config:
        """`config`, which was read from `file`; or, where that was on trial and was not kept, the
        one before it."""
        if file is None or not self._is_refused(file):
            self.keep(file)
            return config
        try:
            kept = self.kept(file)
        except (ConfigError, OSError) as error:
            log.error("config: %s was not kept, but the one before cannot be read: %s", file, error)
            return config
        log.error(
            "config: %s was on trial and was not kept: the one before it is in use. "
            "Change it, or keep it with: berrygate reload",
            file,
        )
        return kept

    def _is_refused(self, file: Path) -> bool:
        try:
            return bool(json.loads(self._refused.read_bytes())["sha256"] == _hash(file))
        except (OSError, ValueError, TypeError, KeyError):
            return False

    def _write(self, path: Path, data: bytes) -> None:
        """Whole or not at all; nobody else may read it, for there may be passwords in it."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o600)
        with new.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(path)


def _hash(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
