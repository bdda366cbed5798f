"""What `berrygate broker` can ask of the running gateway. Never over HTTP: it gives passwords."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from pydantic import BaseModel, Field

from gateway.broker import LanControl
from gateway.core.errors import ConfigError
from gateway.web.house import House
from gateway.web.params import NoParams, Params


class OpenParams(Params):
    """A listener to open."""

    host: str = "0.0.0.0"
    """Address to listen on."""
    port: Annotated[int, Field(ge=1, le=65_535)]
    """Port to listen on."""
    tls: bool = True
    """Encrypted."""
    user: str | None = None
    """A user to make, if it is not there yet."""


class UserParams(Params):
    """Names one user."""

    name: str
    """Its name."""


class CredentialsParams(Params):
    """Names devices."""

    names: Annotated[tuple[str, ...], Field(min_length=1, max_length=1_000)]
    """Their ids."""


def broker_calls(
    house: House,
) -> dict[str, tuple[type[BaseModel], Callable[[Any], Awaitable[Any]]]]:
    """The calls by name: (their arguments, what answers)."""

    def lan() -> LanControl:
        if house.lan is None:
            raise ConfigError(
                "the gateway uses another broker, and has none of its own to open",
                fix="open that broker itself, or leave out broker.url and broker.embedded",
            )
        return house.lan

    async def show(_: NoParams) -> Any:
        return await lan().show()

    async def open_(asked: OpenParams) -> Any:
        return await lan().open(asked.host, asked.port, asked.tls, asked.user)

    async def close(_: NoParams) -> Any:
        return await lan().close()

    async def add(asked: UserParams) -> Any:
        return await lan().add_user(asked.name)

    async def remove(asked: UserParams) -> Any:
        return await lan().remove_user(asked.name)

    async def password(asked: UserParams) -> Any:
        return await lan().renew_password(asked.name)

    return {
        **_credential_calls(lan),
        "broker": (NoParams, show),
        "broker_open": (OpenParams, open_),
        "broker_close": (NoParams, close),
        "broker_user_add": (UserParams, add),
        "broker_user_remove": (UserParams, remove),
        "broker_user_password": (UserParams, password),
    }


def _credential_calls(
    lan: Callable[[], LanControl],
) -> dict[str, tuple[type[BaseModel], Callable[[Any], Awaitable[Any]]]]:
    async def issue(asked: CredentialsParams) -> Any:
        return await lan().issue(asked.names)

    async def revoke(asked: CredentialsParams) -> Any:
        return await lan().revoke(asked.names)

    return {
        "credentials_issue": (CredentialsParams, issue),
        "credentials_revoke": (CredentialsParams, revoke),
    }
