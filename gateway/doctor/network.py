"""The broker, our ports, and the servers that bridges write to."""

import asyncio
import errno
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import psutil

from gateway.broker.probing import accepts, answers, owner
from gateway.core.contracts import Bridge, Checkable, Context, Endpoint, Endpoints
from gateway.core.errors import BerrygateError, Denied, Unavailable
from gateway.core.settings import BridgeSettings
from gateway.doctor import reach
from gateway.doctor.access import user
from gateway.doctor.findings import Finding, Scene, fail, ok, skip, warn
from gateway.doctor.machine import mosquitto
from gateway.io.blocking import Blocking

_TIMEOUT = 5.0
_PRIVILEGED = 1024


def program(scene: Scene) -> list[Finding]:
    """Whether the embedded broker can be started."""
    check = "broker.program"
    if scene.config is None or not scene.config.broker.runs_embedded:
        return [skip(check, "the broker is not embedded")]
    found = mosquitto()
    if found is None:
        fix = "sudo apt install mosquitto, or set broker.url to a broker you have"
        return [fail(check, "mosquitto is not installed", fix)]
    return [ok(check, f"mosquitto {found}")]


async def broker(scene: Scene) -> list[Finding]:
    """Whether the broker takes connections, with TLS and credentials as configured."""
    check = "broker.reachable"
    if scene.config is None:
        return [skip(check, "no configuration to go by")]
    endpoint = scene.config.broker.endpoint
    if scene.config.broker.runs_embedded and scene.status is None:
        return [await _port_of_embedded(check, endpoint)]
    told = scene.status["broker"].get("trouble") if scene.status else None
    found = await _greeted(check, endpoint, f"{scene.config.gateway.id}-doctor")
    if found.state == "OK" and told and told != "connecting":
        fix = "see berrygate status; the broker takes us, and not the running gateway"
        return [fail(check, f"the gateway says: {told}", fix)]
    return [found]


async def _port_of_embedded(check: str, endpoint: Endpoint) -> Finding:
    where = f"{endpoint.host}:{endpoint.port}"
    if not await answers(endpoint):
        return ok(check, f"{where} is free for it; it starts with the gateway")
    who = owner(endpoint.port)
    if await accepts(endpoint):
        fix = f"sudo systemctl disable --now mosquitto, unless {who} is meant to be used"
        return warn(check, f"{who} has {where}; the gateway would use it", fix)
    fix = "stop it, or set broker.port, or broker.url with a username"
    return fail(check, f"{who} has {where} and is no broker for us", fix)


async def _greeted(check: str, endpoint: Endpoint, name: str, subject: str = "") -> Finding:
    threads = Blocking("doctor")
    client_id = f"{name}-{secrets.token_hex(3)}"
    try:
        seen = await threads.call(lambda: reach.greet(endpoint, client_id), 2 * _TIMEOUT)
    except TimeoutError:
        return fail(check, "no answer in time", "see the broker's log", subject)
    except BerrygateError as error:
        fix = error.fix or "see the broker's log"
        return fail(check, f"{endpoint.host}:{endpoint.port}: {error}", fix, subject)
    return ok(check, seen, subject)


def ports(scene: Scene) -> list[Finding]:
    """Whether the gateway has, or can have, the addresses that it is to listen on."""
    check = "access.ports"
    if scene.config is None or not scene.config.api.enabled:
        return [skip(check, "the HTTP server is not enabled")]
    api = scene.config.api
    if api.port == 0:
        return [skip(check, "api.port is 0: any free one")]
    where = f"{api.host}:{api.port}"
    listener = _listener(api.port)
    if scene.status is not None:
        if listener is not None and scene.peer and listener not in (0, scene.peer.pid):
            fix = "set api.port to another one, or stop it"
            return [fail(check, f"{owner(api.port)} has {where}, not the gateway", fix)]
        if listener is None:
            fix = "see the gateway's log; restart it if api was changed"
            return [fail(check, f"nobody listens on {where}", fix)]
        return [ok(check, f"the gateway listens on {where}")]
    if listener is not None:
        fix = "stop it, or set api.port to a free port"
        return [fail(check, f"{owner(api.port)} has {where}", fix)]
    return [_may_listen(check, scene, api.host, api.port)]


def _listener(port: int) -> int | None:
    """Who listens on a port: a process id, 0 where we may not know, None for nobody."""
    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN
            if listens and connection.laddr and connection.laddr.port == port:
                return connection.pid or 0
    except psutil.Error:
        return None
    return None


def _may_listen(check: str, scene: Scene, host: str, port: int) -> Finding:
    if port < _PRIVILEGED and user(scene).uid != 0:
        fix = "set api.port to 1024 or above"
        return fail(check, f"{user(scene).name} may not open port {port}", fix)
    try:
        # Any other port of this address: it tells whether the address is ours.
        family = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, 0), family=family).close()
    except OSError as error:
        reason = "is not an address of this machine"
        text = reason if error.errno == errno.EADDRNOTAVAIL else error.strerror or os.strerror(0)
        return fail(check, f"{host} {text}", "set api.host to 127.0.0.1, 0.0.0.0 or ::")
    return ok(check, f"{host}:{port} is free for it")


async def sources(scene: Scene) -> list[Finding]:
    """Each configured device source: connected, and whether something comes."""
    check = "source"
    if scene.status is not None:
        return [_source(check, each) for each in scene.status["sources"]] or [
            skip(check, "none is configured")
        ]
    if scene.config is None:
        return [skip(check, "no configuration to go by")]
    pairs = scene.config.named_devices.items()
    chosen = [(name, settings) for name, settings in pairs if getattr(settings, "url", None)]
    default = scene.config.broker.endpoint
    found = await asyncio.gather(
        *(
            _greeted(check, settings.endpoint(default), f"doctor-{name}", name)  # type: ignore[attr-defined]
            for name, settings in chosen
        )
    )
    return [*found] or [skip(check, "told once the gateway runs")]


def _source(check: str, source: dict[str, Any]) -> Finding:
    name = source["name"]
    if source["state"] != "running":
        seen = f"{source['state']}: {source['last_error'] or 'no reason given'}"
        return fail(check, seen, "see what it says; correct its entry of devices:", name)
    if not source["received"]:
        fix = "see that devices publish where it listens: berrygate tail, mosquitto_sub -v -t '#'"
        return warn(check, "connected; nothing has come yet", fix, name)
    bad = source["dead_lettered"] + sum(source["dropped"].values())
    seen = f"{source['received']:,} received, {bad:,} of them refused"
    if bad * 10 > source["received"]:
        return warn(check, seen, "see why: berrygate status, berrygate bridges", name)
    return ok(check, seen, name)


async def bridges(scene: Scene) -> list[Finding]:
    """Each bridge's server: name, TCP, TLS, credentials, and that what it writes to is there."""
    if scene.config is None or not scene.config.bridges:
        why = "no configuration to go by" if scene.config is None else "none is configured"
        return [skip("bridge.reachable", why)]
    context = Context(
        gateway=scene.config.gateway.id,
        root=scene.config.gateway.root,
        data_dir=scene.data_dir,
        broker=scene.config.broker.endpoint,
        emit=lambda event: None,
    )
    pairs = scene.config.named_bridges.items()
    found = await asyncio.gather(*(_reached(name, each, context) for name, each in pairs))
    return [finding for each in found for finding in each]


async def _reached(name: str, settings: BridgeSettings, context: Context) -> list[Finding]:
    feeds = settings.feeds(context.gateway)
    if feeds is None:
        return [await _bridge(name, settings, context)]
    # Not as the gateway itself would: with its client id we would throw out the one that runs.
    client_id = f"{context.gateway}-doctor"
    return [await _greeted("bridge.reachable", each, client_id, name) for each in feeds[0]]


async def _bridge(name: str, settings: BridgeSettings, context: Context) -> Finding:
    check = "bridge.reachable"
    seen = ""
    try:
        url = getattr(settings, "url", None)
        if isinstance(url, str):
            ca_file, verify = getattr(settings, "ca_file", None), getattr(settings, "verify", True)
            threads = Blocking("doctor")
            seen = await threads.call(lambda: reach.by_url(url, ca_file, verify), 2 * _TIMEOUT)
        async with asyncio.timeout(_TIMEOUT):
            said = await _let_in(settings.build(name, context))
        return ok(check, ", ".join(filter(None, (seen, said))), name)
    except TimeoutError:
        fix = "see why the server is slow; raise the bridge's timeout"
        return fail(check, f"{seen}; no answer in {_TIMEOUT:g} s", fix, name)
    except BerrygateError as error:
        default = "start the server, or correct the bridge's url"
        if isinstance(error, Denied):
            default = "correct the bridge's credentials"
        return fail(check, str(error), error.fix or default, name)


async def _let_in(bridge: Bridge[Any]) -> str:
    """Connect as the gateway would; what the server said, or the first of several that does not
    let us in. Raises BerrygateError."""
    connect: Callable[..., AbstractAsyncContextManager[Any]] = bridge.connect
    names = bridge.endpoints if isinstance(bridge, Endpoints) else ()
    if len(names) < 2:
        return await _asked(bridge, connect())
    for name in names:
        try:
            said = await _asked(bridge, connect(name))
        except BerrygateError as error:
            kind = Denied if isinstance(error, Denied) else Unavailable
            raise kind(f"{name}: {error}", fix=error.fix) from error
    return f"{len(names)} endpoints, {said}"


async def _asked(bridge: Bridge[Any], connecting: AbstractAsyncContextManager[Any]) -> str:
    try:
        async with connecting as connection:
            if not isinstance(bridge, Checkable):
                return "connected"
            await bridge.check(connection)
            return "may write"
    except OSError as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error


def deliveries(scene: Scene) -> list[Finding]:
    """What the running gateway says of each bridge."""
    check = "bridge.delivery"
    if scene.status is None:
        return [skip(check, "no gateway runs")]
    return [_delivery(check, each) for each in scene.status["bridges"]] or [
        skip(check, "none is configured")
    ]


def _delivery(check: str, bridge: dict[str, Any]) -> Finding:
    name, state = bridge["name"], bridge["state"]
    seen = f"{state}, {bridge.get('pending', 0):,} waiting"
    if state == "paused":
        return warn(check, seen, f"berrygate bridges resume {name}", name)
    if state != "running":
        said = bridge.get("last_error") or "no reason given"
        return fail(check, f"{seen}: {said}", f"see bridge.reachable of {name}", name)
    return ok(check, f"{seen}, {bridge.get('delivered', 0):,} delivered", name)
