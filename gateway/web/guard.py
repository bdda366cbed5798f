"""What stands before every request: who it was meant for, how large it is, what browsers may do."""

import socket
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.web.plain import plain_problem

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_READING = ("GET", "HEAD", "OPTIONS")
_Headers = Mapping[str, str]


class Guard:
    """Refuses requests for foreign host names and oversized bodies; adds security headers.

    A page of a stranger can make a browser send requests to this gateway by pointing the
    stranger's own host name at our address (DNS rebinding). Such a request still carries that
    name, so only names that are ours are served: IP addresses, localhost, this machine's name
    (also in `.local`), and `allowed_hosts` (`.example.org` allows all below it, `*` any).
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Iterable[str], max_body: int) -> None:
        name = socket.gethostname().lower().rstrip(".")
        short = name.partition(".")[0]
        ours = {"localhost", name, short, f"{short}.local"}
        self._app = app
        self._hosts = ours | {host.lower().rstrip(".") for host in allowed_hosts}
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                _default(headers, HEADERS)
                if scope["path"].startswith("/api/"):
                    _default(headers, {"Cache-Control": "no-store"})
                message = {**message, "headers": headers}
            await send(message)

        app = self._refusal(scope, _headers_of(scope)) or self._app
        # RFC 9110, section 9.1: HEAD is GET without the body, which the server leaves out.
        head = {**scope, "method": "GET", "berrygate.method": "HEAD"}
        inner = head if scope["method"] == "HEAD" else scope
        await app(inner, self._limited(receive), protected)

    def _refusal(self, scope: Scope, headers: _Headers) -> ASGIApp | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            fix = f"add {_name(host)!r} to api.allowed_hosts, or use the gateway's IP address"
            return plain_problem(421, f"host {host!r} is not this gateway", fix=fix)
        if scope["method"] not in _READING and (refused := _forbidden(scope, headers)):
            return plain_problem(
                403, refused, fix="use the berrygate command, or a client on this machine"
            )
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._max_body:
            return plain_problem(413, self._too_large, headers={"Connection": "close"})
        return None

    @property
    def _too_large(self) -> str:
        return f"the body is larger than {self._max_body} bytes"

    def _limited(self, receive: Receive) -> Receive:
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body:  # a chunked body does not say its length beforehand
                raise HTTPException(413, self._too_large)
            return message

        return limited

    def _is_ours(self, host: str) -> bool:
        name = _name(host)
        # HTTP/1.0 need not send Host; a browser, which is what is being protected, always does.
        if not host or name in self._hosts or "*" in self._hosts:
            return True
        parts = name.split(".")
        if any("." + ".".join(parts[i:]) in self._hosts for i in range(1, len(parts))):
            return True
        try:
            ip_address(name)
        except ValueError:
            return parts[-1] == "localhost"  # RFC 6761: always loopback
        return True


def _forbidden(scope: Scope, headers: _Headers) -> str:
    """Why a request that changes something is refused, or "".

    Until there are users, only this machine may change things. And a browser on it may be showing
    a stranger's page: it says where a request comes from (Fetch Metadata; older ones by Origin).
    """
    peer = scope.get("client")
    if peer is not None and not ip_address(peer[0].partition("%")[0]).is_loopback:
        return "only this machine may change things over HTTP"
    origin, host = headers.get("origin"), headers.get("host", "").lower()
    foreign = origin is not None and urlsplit(origin).netloc.lower() != host
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") or foreign:
        return "a page of another site may not change things here"
    return ""


def _headers_of(scope: Scope) -> _Headers:
    """By their names in lower case, as they come (ASGI 3, HTTP); of one that is there twice the
    first."""
    backwards = reversed(list(scope["headers"]))
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in backwards}


def _default(headers: list[tuple[bytes, bytes]], added: Mapping[str, str]) -> None:
    """Add to an answer's headers what it does not say itself."""
    there = {name.lower() for name, _ in headers}
    coded = ((name.lower().encode(), value.encode()) for name, value in added.items())
    headers += [(name, value) for name, value in coded if name not in there]


def _name(host: str) -> str:
    """`host` without port and brackets, in lower case."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")
