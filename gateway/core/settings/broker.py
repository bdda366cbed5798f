"""How to reach an MQTT broker, as the configuration has it."""

from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from gateway.core.contracts import Endpoint
from gateway.core.mqtt_url import parse_url
from gateway.core.settings.model import Secret, Settings, wrong


class BrokerAddress(Settings):
    """How to reach an MQTT broker and be let in."""

    url: str | None = None
    """The broker, such as mqtts://broker.example:8883."""
    username: str | None = None
    """User name at that broker."""
    password: Secret | None = None
    """Password at that broker."""
    ca_file: str | None = None
    """Certificates that vouch for that broker; the system's if not given."""
    cert_file: str | None = None
    """Our own certificate for that broker."""
    key_file: str | None = None
    """Our certificate's key."""
    verify: bool = True
    """Check that broker's certificate."""
    protocol: Literal["5", "3.1.1"] = "5"
    """MQTT version at that broker."""

    @field_validator("protocol", mode="before")
    @classmethod
    def _protocol(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None:
            parse_url(value)
        return value

    @model_validator(mode="after")
    def _with_key(self) -> Self:
        if self.cert_file and not self.key_file:
            raise wrong("cert_file", "a certificate needs its key", "add key_file:")
        return self

    def refuse_access(self, message: str, fix: str) -> None:
        """Refuse keys that say how to be let in, for nobody would look at them."""
        for key in ("username", "password", "ca_file", "cert_file", "key_file"):
            if getattr(self, key) is not None:
                raise wrong(key, message, fix.format(key=key))

    def reached_at(self, found: Endpoint) -> Endpoint:
        """The whole address, of the broker at `found`."""
        return replace(
            found,
            username=self.username or found.username,
            password=self.password.get_secret_value() if self.password else found.password,
            ca_file=self.ca_file or "",
            cert_file=self.cert_file or "",
            key_file=self.key_file or "",
            verify=self.verify,
            protocol=self.protocol,
        )
