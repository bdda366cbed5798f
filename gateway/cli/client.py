"""Asks the running gateway over its control socket. A plain socket: no event loop to start."""

import json
import os
import socket
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from gateway.cli.common import CliError, Exit
from gateway.web.sockets import SOCKET_NAME, connect

_SERVICE = Path("/run/berrygate")
_CONNECT = 5.0
_ANSWER = 30.0
CODES = {"usage": Exit.USAGE, "denied": Exit.UNREACHABLE}
_WORK = 120.0  # how long a piece of a long work may take (s)


def ask(options: Namespace, call: str, **args: Any) -> Any:
    """The gateway's answer. Raises CliError."""
    with _connection(options) as (connection, lines):
        _send(connection, call, args)
        return _answer(lines.readline())


def follow(options: Namespace, call: str, **args: Any) -> Iterator[Any]:
    """What the gateway streams, until it stops. Raises CliError."""
    with _connection(options) as (connection, lines):
        _send(connection, call, args)
        _answer(lines.readline())
        connection.settimeout(None)
        for line in lines:
            if line.endswith(b"\n"):
                yield json.loads(line)["next"]
    raise CliError("the gateway has stopped", Exit.UNREACHABLE)


class Bulk:
    """Bytes to or from the gateway (see gateway/web/streams.py). end: what it said at the end."""

    def __init__(self, connection: socket.socket, lines: IO[bytes]) -> None:
        self._connection = connection
        self._lines = lines
        self.end: Any = None

    def pieces(self) -> Iterator[tuple[Any, bytes]]:
        """What the gateway sends, until all of it has come. Raises CliError."""
        while (head := self._told()) is not None:
            with _answering():
                data = self._lines.read(head["size"])
            if len(data) < head["size"]:
                raise CliError("the gateway hung up in the middle", Exit.UNREACHABLE)
            yield head, data

    def send(self, data: bytes) -> Any:
        """What the gateway says once it has taken `data`; without any, that was all. Raises
        CliError."""
        try:
            head = json.dumps({"size": len(data)}).encode()
            self._connection.sendall(head + b"\n" + data, socket.MSG_NOSIGNAL)
        except BrokenPipeError:
            pass  # its answer says why
        told = self._told()
        return self.end if told is None else told

    def _told(self) -> Any:
        with _answering():
            answer = _parsed(self._lines.readline())
        if "end" in answer:
            self.end = answer["end"]
            return None
        return answer["next"]


@contextmanager
def bulk(options: Namespace, call: str, **args: Any) -> Iterator[Bulk]:
    """A call that moves bytes, once the gateway has agreed to it. Raises CliError."""
    with _connection(options) as (connection, lines):
        connection.settimeout(_WORK)
        _send(connection, call, args)
        _answer(lines.readline())
        yield Bulk(connection, lines)


def candidates(options: Namespace) -> list[Path]:
    """Where the socket may be. Raises InvalidConfig where a configuration was named and cannot be
    read."""
    named = bool(options.config or os.environ.get("BERRYGATE_CONFIG"))
    configured = _configured(options.config, named)
    places = [configured or _default()]
    if not (named and configured):  # what was named means that gateway and no other
        runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
        places += [Path(runtime)] if runtime else []
        places.append(_SERVICE)
    return [place / SOCKET_NAME for place in places]


def data_dir(options: Namespace) -> Path:
    """Where the gateway keeps its data. Raises InvalidConfig where a configuration was named and
    cannot be read."""
    named = bool(options.config or os.environ.get("BERRYGATE_CONFIG"))
    return _configured(options.config, named) or _default()


def _default() -> Path:
    from gateway.config.models import default_data_dir

    return default_data_dir()


def _configured(explicit: Path | None, named: bool) -> Path | None:
    """What the configuration says of data_dir. The rest of it is not looked at: it may need
    secrets that only the service has, or be half edited."""
    from gateway.config import InvalidConfig, find
    from gateway.config.source import read
    from gateway.config.substitute import substitution

    path = find(explicit)
    if path is None:
        return None
    try:
        data = read(path, substitution(os.environ, path.parent)).data
    except InvalidConfig:
        if named:
            raise
        return None
    gateway = data.get("gateway") if isinstance(data, dict) else None
    found = gateway.get("data_dir") if isinstance(gateway, dict) else None
    return Path(found).expanduser() if isinstance(found, str) and found else None


@contextmanager
def _connection(options: Namespace) -> Iterator[tuple[socket.socket, IO[bytes]]]:
    connection = _first(candidates(options))
    connection.settimeout(_ANSWER)
    with _answering(), connection, connection.makefile("rb") as lines:
        yield connection, lines


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise CliError("the gateway does not answer", Exit.UNREACHABLE) from error
    except ConnectionError as error:
        raise CliError("the gateway hung up", Exit.UNREACHABLE) from error


def _first(paths: list[Path]) -> socket.socket:
    """The first socket somebody listens on."""
    forbidden = None
    for path in paths:
        try:
            return connect(path, _CONNECT)
        except PermissionError:
            forbidden = forbidden or path
        except OSError:
            continue
    if forbidden:
        fix = "run this with sudo, or become a member of the gateway's group"
        raise CliError(f"{forbidden}: you may not use it", Exit.UNREACHABLE, fix)
    where = ", ".join(map(str, paths))
    fix = "berrygate run, or name its configuration with -c"
    raise CliError(f"no gateway is running (looked at {where})", Exit.UNREACHABLE, fix)


def _send(connection: socket.socket, call: str, args: dict[str, Any]) -> None:
    line = json.dumps({"call": call, "args": args}).encode() + b"\n"
    try:
        # Our SIGPIPE is the default one, for `| head`; here it must not end us without a word.
        connection.sendall(line, socket.MSG_NOSIGNAL)
    except BrokenPipeError:
        return  # the gateway has refused us already, and its answer says why


def _answer(line: bytes) -> Any:
    return _parsed(line)["ok"]


def _parsed(line: bytes) -> Any:
    if not line.endswith(b"\n"):
        raise CliError("the gateway hung up", Exit.UNREACHABLE)
    answer = json.loads(line)
    error = answer.get("error")
    if error is None:
        return answer
    raise CliError(error["message"], CODES.get(error["type"], Exit.FAILED), error.get("fix"))
