"""Finds what is secret in a configuration, so that nothing shows it later."""

import re
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel

from gateway.config.privacy import is_secret
from gateway.config.source import Source
from gateway.core.settings import Secret

_REFERENCE = re.compile(r"\$\{[^}]*\}")
_PLAIN = re.compile(r"(?i)[\d.,:+-]*|true|false|yes|no|on|off")
_PARTS = re.compile(r"[/?&=:@]")
_HOST = re.compile(r"(?i)[a-z0-9-]+(\.[a-z0-9-]+)+")
_DIGIT_OR_MIXED = re.compile(r"[a-zA-Z][0-9]|[0-9][a-zA-Z]|[a-z][A-Z]")
_TOKEN = 8  # characters of a piece of a service's address: shorter ones are words
_SHORTEST = 6  # characters of a reference's value: shorter ones are ports, units, words


def secrets(config: BaseModel, source: Source) -> Iterator[str]:
    """Values of secret keys, credentials in URLs, and what was put in for references: nobody
    knows which of these are secret, so all are but numbers, switches and short words."""
    yield from _of(config)
    for value in source.private.values():
        pieces = [value.text] if value.reference == "***" else _put_in(value.reference, value.text)
        yield from (p for p in pieces if len(p) >= _SHORTEST and not _PLAIN.fullmatch(p))


def _put_in(written: str, text: str) -> list[str]:
    """What stands in `text` where references are written."""
    literals = map(re.escape, _REFERENCE.split(written))
    found = re.fullmatch("(.*?)".join(literals), text, re.DOTALL)
    return [piece for piece in found.groups() if piece] if found else [text]


def _of(value: Any) -> Iterator[str]:
    if isinstance(value, Secret):
        yield value.get_secret_value()
        yield from _pieces(value.get_secret_value())
    elif isinstance(value, BaseModel):
        fields = {name: getattr(value, name, None) for name in type(value).model_fields}
        for item in fields.values():
            yield from _of(item)
        if isinstance(password := fields.get("password"), Secret):
            yield _basic(fields.get("username"), password.get_secret_value())
    elif isinstance(value, dict):
        for item in value.values():
            yield from _of(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _of(item)
    elif isinstance(value, str) and "://" in value:
        yield from _of_url(value)


def _basic(username: object, password: str) -> str:
    """As HTTP sends the two (RFC 7617)."""
    return b64encode(f"{username}:{password}".encode()).decode()


def _of_url(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:  # the model that takes it says so
        return
    if password:
        yield password
        yield _basic(parts.username, password)
    yield from (value for name, value in parse_qsl(parts.query) if is_secret(name))


def _pieces(url: str) -> Iterator[str]:
    """What in a service's address may be a token: it says them again in another order. Words and
    names of hosts are not."""
    _, service, address = url.partition("://")
    if not service:
        return
    user, _, rest = address.rpartition("@")
    yield from filter(None, [user.partition(":")[2]])
    for piece in _PARTS.split(f"{user}/{rest}"):
        if len(piece) >= _TOKEN and not _HOST.fullmatch(piece) and _DIGIT_OR_MIXED.search(piece):
            yield piece
