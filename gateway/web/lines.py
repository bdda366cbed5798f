"""The lines of the control socket: a request, and what is wrong with it."""

from typing import Any

import msgspec


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """A line from a client."""

    call: str
    args: dict[str, Any] = {}


class CallError(Exception):
    """A request that cannot be served. kind: `usage`, `unknown`, `denied` or `failed`."""

    def __init__(self, kind: str, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.fix = fix


def parse(line: bytes) -> Request:
    """The request on a line. Raises CallError."""
    try:
        return msgspec.json.decode(line, type=Request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CallError("usage", f"not a request: {error}") from error


def line(value: Any) -> bytes:
    """A line of the protocol."""
    return msgspec.json.encode(value) + b"\n"


def failure(error: CallError) -> bytes:
    """The line that says what is wrong."""
    return line({"error": {"type": error.kind, "message": str(error), "fix": error.fix}})
