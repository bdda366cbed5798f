"""Parts of the configuration of CoAP devices: resources of others, commands, and keys."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import cbor2
import msgspec
from aiocoap import Message
from aiocoap.error import Error
from pydantic import AfterValidator, Field, model_validator

from gateway.core.commands import Schema, misfit
from gateway.core.settings import Duration, Id, Secret, Settings, wrong
from gateway.io import placeholders
from gateway.io.coap import templates

LARGEST = 16_384
"""Of a command's payload (bytes)."""
_LONGEST = 256  # characters of an argument

Hex = Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2})*$")]
"""Bytes in hexadecimal."""


def _check(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "coap" or not parts.hostname or parts.fragment or parts.port == 0:
        raise ValueError("expected coap://HOST/PATH")
    try:
        parts.hostname.encode("idna")  # else asking for its address ends the driver
        Message(uri=url)
    except (UnicodeError, Error) as error:
        raise ValueError(f"expected coap://HOST/PATH: {error}") from None
    return url


Url = Annotated[str, AfterValidator(_check)]
"""A resource of a CoAP server."""


class CommandSettings(Settings):
    """Something that the device can be told."""

    url: Url | None = None
    """The resource that is told; if not given, the one that is asked or observed."""
    method: Literal["PUT", "POST", "GET", "DELETE"] = "PUT"
    """How."""
    payload: Annotated[str, Field(max_length=4_096)] = ""
    """What is sent; `{name}` is the argument of that name."""
    format: Literal["json", "text", "cbor", "octets"] = "json"
    """What the payload is. For `cbor` it is written as JSON here; `octets` are bytes, as text with
    escapes or behind `hex:`."""
    timeout: Annotated[Duration, Field(gt=0, le=50)] = 10.0
    """How long the answer may take."""

    @model_validator(mode="after")
    def _sent(self) -> "CommandSettings":
        if self.payload and self.method in ("GET", "DELETE"):
            fix = "method: PUT or POST, or leave the payload out"
            raise wrong("payload", f"{self.method} sends none", fix)
        try:
            self._names()
        except ValueError as error:
            fix = """payload: '{"on": {on}}'""" if self._is_json else 'payload: "SET {value}"'
            raise wrong("payload", str(error), fix) from None
        return self

    @property
    def _is_json(self) -> bool:
        return self.format in ("json", "cbor")

    def _names(self) -> set[str]:
        if not self.payload:
            return set()
        find = templates.places if self._is_json else placeholders.names_in
        return find(self.payload)

    def arguments(self) -> Schema:
        """What the arguments must be."""
        kinds = ["number", "string", *(["boolean"] if self._is_json else [])]
        names = sorted(self._names())
        return {
            "type": "object",
            "properties": {name: {"type": kinds, "maxLength": _LONGEST} for name in names},
            "required": names,
            "additionalProperties": False,
        }

    def body(self, args: Mapping[str, Any]) -> bytes:
        """What is sent. Raises ValueError for arguments that do not fit."""
        if why := misfit(self.arguments(), args):
            raise ValueError(why)
        body = self._filled(args)
        if len(body) > LARGEST:
            raise ValueError(f"the payload has {len(body)} bytes; at most {LARGEST} are sent")
        return body

    def _filled(self, args: Mapping[str, Any]) -> bytes:
        if not self.payload:
            return b""
        if not self._is_json:
            return placeholders.fill(self.payload, args)
        written = templates.fill(self.payload, args).encode()
        return written if self.format == "json" else cbor2.dumps(msgspec.json.decode(written))


class ResourceSettings(Settings):
    """A resource of another CoAP server."""

    url: Url
    """Where it is, such as coap://192.0.2.7/temperature."""
    device: Annotated[str, Field(min_length=1)]
    """The device that it tells of."""
    metric: str = "value"
    """What a bare number is called."""
    commands: dict[Id, CommandSettings] = Field(default_factory=dict)
    """What the device can be told, by name. Of a device that is there several times: all of it."""


class PolledSettings(ResourceSettings):
    """A resource that is asked for."""

    interval: Annotated[Duration, Field(ge=0.1)] = 60.0
    """How often."""


def check_once(resources: Iterable[ResourceSettings]) -> None:
    """Raises what a model raises where a resource, or a command of a device, is there twice."""
    every = list(resources)
    if twice := _twice(each.url for each in every):
        raise wrong("poll", f"{twice} is there twice", "leave one out")
    if twice := _twice(f'"{name}" of {each.device}' for each in every for name in each.commands):
        raise wrong("poll", f"command {twice} is there twice", "give one another name")


def _twice(names: Iterable[str]) -> str:
    return next((name for name, count in Counter(names).items() if count > 1), "")


class KeySettings(Settings):
    """What a device and the gateway share, for OSCORE (RFC 8613)."""

    device: Annotated[str, Field(min_length=1)]
    """Which device."""
    secret: Secret
    """Master Secret, in hexadecimal; 16 bytes or more."""
    salt: Hex = ""
    """Master Salt."""
    client_id: Annotated[Hex, Field(max_length=14)]
    """The device's Sender ID, another one for each device."""
    server_id: Annotated[Hex, Field(max_length=14)] = ""
    """Our Sender ID for that device."""

    @model_validator(mode="after")
    def _usable(self) -> "KeySettings":
        secret = self.secret.get_secret_value()
        if not re.fullmatch(r"([0-9a-fA-F]{2}){16,}", secret):
            raise wrong("secret", "not 16 bytes or more in hexadecimal", "openssl rand -hex 16")
        if self.client_id.lower() == self.server_id.lower():
            raise wrong("client_id", "both sides have one id", "give client_id another value")
        return self
