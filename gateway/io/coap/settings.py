"""Parts of the configuration of CoAP devices: resources of others, and keys."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from gateway.core.settings import Duration, Secret, Settings, wrong

Hex = Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2})*$")]
"""Bytes in hexadecimal."""


class ResourceSettings(Settings):
    """A resource of another CoAP server."""

    url: str
    """Where it is, such as coap://192.0.2.7/temperature."""
    device: Annotated[str, Field(min_length=1)]
    """The device that it tells of."""
    metric: str = "value"
    """What a bare number is called."""

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme != "coap" or not parts.hostname or parts.fragment or parts.port == 0:
            raise ValueError("expected coap://HOST/PATH")
        return value


class PolledSettings(ResourceSettings):
    """A resource that is asked for."""

    interval: Annotated[Duration, Field(ge=0.1)] = 60.0
    """How often."""


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
