"""Unix sockets: where the control socket is, how it is made and reached, and who may use it."""

import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.core.errors import ConfigError

SOCKET_NAME = "control.sock"
_MAX_PATH = 107  # bytes in sun_path, without the final zero; unix(7)
_BACKLOG = 64
_SO_PEERGROUPS = 59  # asm-generic/socket.h; Python has no name for it
_MAX_GROUPS = 256  # what Python's getsockopt has room for
_UCRED = struct.Struct("3i")


def socket_paths(data_dir: Path) -> list[Path]:
    """Where the gateway listens: in its data directory, and where systemd made a run-time
    directory also there, so that clients that don't know the configuration find it."""
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    directories = [data_dir, *([Path(runtime)] if runtime else [])]
    return [directory / SOCKET_NAME for directory in directories]


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """`path`, or where that is too long for a socket address, another name of the same place."""
    if len(os.fsencode(path)) <= _MAX_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def connect(path: Path, timeout: float) -> socket.socket:
    """A connection to the socket at `path`. Raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        with short_path(path) as short:
            connection.connect(short)
    except OSError:
        connection.close()
        raise
    return connection


def listen(path: Path) -> socket.socket:
    """A Unix socket at `path` that owner and group may use. Raises ConfigError."""
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(path) as short:
            listener.bind(short)
            # Before listen(): until then nobody can connect, whatever the mode was.
            Path(short).chmod(0o660)
            listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"cannot make the control socket {path}: {error.strerror}",
            fix="give the gateway a data directory that it may write to (gateway.data_dir)",
        ) from error
    return listener


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(f"{path} is in the way of the control socket", fix=f"remove {path}")
        connect(path, timeout=1.0).close()
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)  # its gateway was killed
    except OSError as error:
        raise ConfigError(
            f"cannot use the control socket {path}: {error.strerror or error}",
            fix="give the gateway a data directory of its own (gateway.data_dir)",
        ) from error
    else:
        raise ConfigError(
            f"another gateway is running on {path.parent}",
            fix="stop it, or give this one a gateway.data_dir of its own",
        )


def may_ask(connection: socket.socket) -> bool:
    """Whether the process at the other end is root's, the gateway's user's or its group's."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, gid = _UCRED.unpack(credentials)
    if uid in (0, os.geteuid()) or gid == os.getegid():
        return True
    try:
        groups = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_GROUPS * 4)
    except OSError:
        return False  # in more groups than that
    return os.getegid() in memoryview(groups).cast("I")
