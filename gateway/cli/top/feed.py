"""A connection to the gateway that never waits: it asks, and takes the answer when it is there."""

import json
import select
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gateway.cli.client import CODES
from gateway.cli.common import CliError, Exit
from gateway.web.sockets import connect

_CONNECT = 1.0
_PATIENCE = 5.0  # a gateway that says nothing for so long is told to be away (s)
_SIZE = 1 << 16


class Feed:
    """See the module. trouble: why there is no answer at the moment, or ""."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.trouble = ""
        self._paths = paths
        self._socket: socket.socket | None = None
        self._rest = b""
        self._asked = 0.0  # when, if an answer is to come (monotonic)

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._rest, self._asked = None, b"", 0.0

    def fileno(self) -> int | None:
        """What is readable when an answer comes; None while there is no connection."""
        return self._socket.fileno() if self._socket is not None else None

    @property
    def waiting(self) -> bool:
        """Whether an answer is to come."""
        return bool(self._asked)

    def ask(self, call: str, **args: Any) -> None:
        """Ask; connects where need be. What goes wrong is in `trouble`. Raises CliError where this
        user may not ask."""
        line = json.dumps({"call": call, "args": args}).encode() + b"\n"
        if self._socket is not None and select.select([self._socket], [], [], 0)[0]:
            self._read()
        if self._socket is None and not self._connect():
            return
        assert self._socket is not None
        try:
            # Our SIGPIPE is the default one; here it must not end us without a word.
            self._socket.sendall(line, socket.MSG_NOSIGNAL)
            self._asked = time.monotonic()
        except OSError:
            self._lost("the gateway hung up")

    def take(self) -> Any | None:
        """The answer, if it is there. Raises CliError for what the gateway refuses."""
        if self._socket is not None and select.select([self._socket], [], [], 0)[0]:
            self._read()
        if self._asked and time.monotonic() - self._asked > _PATIENCE:
            self._lost("the gateway does not answer")
        line, end, rest = self._rest.partition(b"\n")
        if not end:
            return None
        self._rest, self._asked, self.trouble = rest, 0.0, ""
        answer = json.loads(line)
        if "ok" in answer:
            return answer["ok"]
        error = answer["error"]
        code = CODES.get(error["type"], Exit.FAILED)
        raise CliError(error["message"], code, error.get("fix"))

    def wait(self) -> Any | None:
        """The answer; None where none comes. Raises CliError."""
        while self._asked and self._socket is not None:
            select.select([self._socket], [], [], 0.1)
            answer = self.take()
            if answer is not None:
                return answer
        return None

    def _connect(self) -> bool:
        forbidden = None
        for path in self._paths:
            try:
                self._socket = connect(path, _CONNECT)
            except PermissionError:
                forbidden = forbidden or path
            except OSError:
                continue
            else:
                return True
        if forbidden:
            fix = "run this with sudo, or become a member of the gateway's group"
            raise CliError(f"{forbidden}: you may not use it", Exit.UNREACHABLE, fix)
        self.trouble = f"no gateway is running (looked at {', '.join(map(str, self._paths))})"
        return False

    def _read(self) -> None:
        assert self._socket is not None
        try:
            data = self._socket.recv(_SIZE)
        except OSError:
            data = b""
        if data:
            self._rest += data
        elif self._asked and b"\n" not in self._rest:
            self._lost("the gateway hung up")
        else:
            self.close()  # it lets go of who says nothing for a minute: the next question connects

    def _lost(self, why: str) -> None:
        self.close()
        self.trouble = why
