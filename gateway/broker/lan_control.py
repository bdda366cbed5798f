"""Opens and closes the embedded broker to the network while the gateway runs."""

import asyncio
import logging
import re
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from gateway.broker.certificates import addresses
from gateway.broker.child import EmbeddedBroker
from gateway.broker.lan import Lan, Listener
from gateway.broker.probing import accepts, refusal
from gateway.core.contracts import Endpoint
from gateway.core.errors import BerrygateError, ConfigError, Unavailable
from gateway.core.settings import ID_PATTERN

log = logging.getLogger(__name__)

_FIRST_USER = "device-1"
_EFFECT = 5.0  # how long a change may take to be seen from outside (s)
_LOOK = 0.1
_UPKEEP = 60.0
_DAILY = 86_400.0


class LanControl:
    """What `berrygate broker` asks for. Calls wait for each other. All raise BerrygateError."""

    def __init__(self, broker: EmbeddedBroker, lan: Lan, gateway: str) -> None:
        self._broker = broker
        self._lan = lan
        self._gateway = gateway
        self._lock = asyncio.Lock()

    async def show(self) -> dict[str, Any]:
        """Listeners, users, and what a device needs to know."""
        self._usable()
        return await self._shown()

    def _overview(self) -> dict[str, Any]:
        authority = self._lan.certificates.authority()
        return {
            "host": socket.gethostname(),
            "listeners": self._lan.current,
            "users": self._lan.users(),
            "addresses": addresses(),
            "ca": authority
            and {
                "file": str(authority.file),
                "fingerprint": authority.fingerprint,
                "pem": authority.pem,
            },
        }

    async def open(self, host: str, port: int, tls: bool, user: str | None) -> dict[str, Any]:
        """Listen there, in place of what was opened before; with a first user if there is none,
        or with `user` if it is new. The broker is started again: it has written down what it
        holds, and clients come back."""
        self._check_name(user or _FIRST_USER)
        async with self._lock:
            self._usable()
            before = await asyncio.to_thread(self._lan.opened)
            listener = Listener(host, port, tls)
            if port not in [each.port for each in before]:
                reason = await asyncio.to_thread(refusal, host, port)
                if reason:
                    raise ConfigError(
                        f"cannot listen on {listener}: {reason}", fix="--port or --host another"
                    )
            if tls:
                await asyncio.to_thread(self._lan.certificates.ensure)
            new = await asyncio.to_thread(self._first_user, user)
            try:
                await self._listen(before, listener)
            except (BerrygateError, OSError):
                if new:  # nobody has seen its password, nor ever will
                    await asyncio.to_thread(self._lan.accounts.remove, new[0])
                raise
            if new:
                await self._until_in(listener, *new)
            log.warning("broker: open to the network on %s", listener)
            return await self._shown(new)

    async def close(self) -> dict[str, Any]:
        """Close what was opened by command; the users stay."""
        async with self._lock:
            self._usable()
            if await asyncio.to_thread(self._lan.opened):
                await asyncio.to_thread(self._lan.keep, [])
                await self._broker.restart()
                log.warning("broker: closed to the network")
            return await self._shown()

    async def add_user(self, name: str) -> dict[str, Any]:
        """A user with a generated password."""
        self._check_name(name)
        return await self._changed(name, partial(self._lan.accounts.add, name))

    async def renew_password(self, name: str) -> dict[str, Any]:
        """Another password; who came in with the old one is thrown out."""
        return await self._changed(name, partial(self._lan.accounts.renew, name))

    async def remove_user(self, name: str) -> dict[str, Any]:
        """A user less; it is thrown out."""
        return await self._changed(name, partial(self._lan.accounts.remove, name))

    async def issue(self, names: Sequence[str]) -> dict[str, Any]:
        """Users for several devices at once, with generated passwords, in `issued`."""
        for name in names:
            self._check_name(name)
        async with self._lock:
            self._usable()
            issued = await asyncio.to_thread(self._lan.accounts.issue, names)
            await self._reloaded()
            return await self._shown() | {"issued": issued}

    async def revoke(self, names: Sequence[str]) -> dict[str, Any]:
        """Let several devices in no more; they are thrown out."""
        async with self._lock:
            self._usable()
            await asyncio.to_thread(self._lan.accounts.revoke, names)
            await self._reloaded()
            return await self._shown()

    async def _changed(self, name: str, change: Callable[[], str | None]) -> dict[str, Any]:
        async with self._lock:
            self._usable()
            password = await asyncio.to_thread(change)
            await self._reloaded()
            new = (name, password) if password else None
            listeners = await asyncio.to_thread(lambda: self._lan.listeners)
            live = [each for each in listeners if each.port not in self._lan.trouble]
            if new and live:
                await self._until_in(live[0], *new)
            return await self._shown(new)

    def _first_user(self, name: str | None) -> tuple[str, str] | None:
        users = self._lan.users()
        if name in users or (name is None and users):
            return None
        return name or _FIRST_USER, self._lan.accounts.add(name or _FIRST_USER)

    def _check_name(self, name: str) -> None:
        if not re.fullmatch(ID_PATTERN, name):
            raise ConfigError(
                f'"{name}" cannot be a user', fix="use a-z, 0-9, _ and -, at most 64 of them"
            )
        if name == "gateway" or f"{name}-".startswith(f"{self._gateway}-"):
            # Its client id is its name: it would throw the gateway's own sessions out.
            raise ConfigError(f'"{name}" is the gateway\'s own', fix="take another name")

    def _usable(self) -> None:
        if self._broker.foreign:
            where = f"{self._broker.endpoint.host}:{self._broker.endpoint.port}"
            raise ConfigError(
                f"the broker on {where} is not the gateway's own",
                fix="open that one to the network itself, or stop it and restart the gateway",
            )

    async def _listen(self, before: list[Listener], listener: Listener) -> None:
        if before == [listener] and listener.port not in self._lan.trouble:
            await self._reloaded()
            return
        await asyncio.to_thread(self._lan.open, listener)
        await self._restarted(before, listener)

    async def _restarted(self, before: list[Listener], listener: Listener) -> None:
        """Start the broker again; with the listeners it had, if it will not have the new one."""
        try:
            await self._broker.restart()
            if reason := self._lan.trouble.get(listener.port):
                raise ConfigError(
                    f"cannot listen on {listener}: {reason}", fix="--port or --host another"
                )
        except (BerrygateError, OSError):
            await asyncio.to_thread(self._lan.keep, before)
            await self._broker.restart()
            raise

    async def _reloaded(self) -> None:
        await asyncio.to_thread(self._lan.prepare, False)
        self._broker.reload()

    async def _until_in(self, listener: Listener, user: str, password: str) -> None:
        """Return once the broker lets the user in; what we print is to work at once."""
        any_host = {"0.0.0.0": "127.0.0.1", "::": "::1"}
        endpoint = Endpoint(
            host=any_host.get(listener.host, listener.host),
            port=listener.port,
            tls=listener.tls,
            username=user,
            password=password,
            ca_file=str(self._lan.certificates.authority_file),
        )
        deadline = asyncio.get_running_loop().time() + _EFFECT
        while not await accepts(endpoint):
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable(
                    f'the broker does not let the new user "{user}" in on {listener}',
                    fix=f"berrygate broker show, then berrygate broker users password {user}",
                )
            await asyncio.sleep(_LOOK)

    async def _shown(self, new: tuple[str, str] | None = None) -> dict[str, Any]:
        shown = await asyncio.to_thread(self._overview)
        return shown | {"new": {"user": new[0], "password": new[1]} if new else None}

    async def upkeep(self) -> None:
        """Until cancelled: take listeners that can be had again, renew certificates in time."""
        renewed = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(_UPKEEP)
            now = asyncio.get_running_loop().time()
            due = now - renewed > _DAILY
            if due:
                renewed = now
            try:
                async with self._lock:
                    await self._keep_up(due)
            except (BerrygateError, OSError) as error:
                log.error("broker: %s", error)

    async def _keep_up(self, due: bool) -> None:
        """due: look at the certificates too."""
        if self._broker.foreign:
            return
        listeners = await asyncio.to_thread(lambda: self._lan.listeners)
        out = [each for each in listeners if each.port in self._lan.trouble]
        for listener in out:
            if not await asyncio.to_thread(refusal, listener.host, listener.port):
                await self._broker.restart()
                return
        wanted = due and any(each.tls for each in listeners)
        if wanted and await asyncio.to_thread(self._lan.certificates.ensure):
            self._broker.reload()
