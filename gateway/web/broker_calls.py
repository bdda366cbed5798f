"""What `berrygate broker` can ask of the running gateway. Never over HTTP: it gives passwords."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from pydantic import BaseModel, Field

from gateway.broker import LanControl
from gateway.core.errors import ConfigError
from gateway.core.keys import Keyed
from gateway.core.settings import Id
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

    source: Id | None = None
    """The source that issues keys to them; the embedded broker if not given."""
    renew: bool = False
    """In place of keys that they have."""

    names: Annotated[tuple[str, ...], Field(min_length=1, max_length=1_000)]
    """Their ids."""


class SourceParams(Params):
    """Names a source."""

    source: Id
    """Its name."""


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
        **_credential_calls(house, lan),
        "broker": (NoParams, show),
        "broker_open": (OpenParams, open_),
        "broker_close": (NoParams, close),
        "broker_user_add": (UserParams, add),
        "broker_user_remove": (UserParams, remove),
        "broker_user_password": (UserParams, password),
    }


def _keyed(house: House, source: str) -> Keyed:
    """Raises LookupError, ConfigError."""
    driver = house.driver(source)
    if not isinstance(driver, Keyed):
        raise ConfigError(f"source {source} has no keys", fix="name a source of type coap")
    return driver


def _credential_calls(
    house: House,
    lan: Callable[[], LanControl],
) -> dict[str, tuple[type[BaseModel], Callable[[Any], Awaitable[Any]]]]:
    async def issue(asked: CredentialsParams) -> Any:
        if asked.source is not None:
            keyed = _keyed(house, asked.source)
            taken = sorted({*keyed.keyed()} & {*asked.names})
            if taken and not asked.renew:
                raise ConfigError(
                    f"there are keys of {', '.join(taken[:10])} already",
                    fix=f"berrygate devices credentials rotate {taken[0]} --source {asked.source}",
                )
            return {"issued": {name: keyed.issue_key(name) for name in asked.names}}
        return await lan().issue(asked.names)

    async def revoke(asked: CredentialsParams) -> Any:
        if asked.source is not None:
            keyed = _keyed(house, asked.source)
            for name in asked.names:
                keyed.revoke_key(name)
            return {"users": list(keyed.keyed())}
        return await lan().revoke(asked.names)

    async def keys(asked: SourceParams) -> Any:
        return list(_keyed(house, asked.source).keyed())

    return {
        "credentials_issue": (CredentialsParams, issue),
        "credentials_revoke": (CredentialsParams, revoke),
        "credentials_keys": (SourceParams, keys),
    }
