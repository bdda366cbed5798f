"""Answers made without the framework behind the API, for whoever answers before it is there."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

PROBLEM = "application/problem+json"
"""The media type of what says what is wrong (RFC 9457)."""


class Plain:
    """An answer, as an ASGI application."""

    def __init__(
        self, status: int, body: bytes, media_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.body = body
        self.media_type = media_type
        self.headers = headers or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI interface."""
        shown = {
            "content-length": str(len(self.body)),
            "content-type": self.media_type,
            **self.headers,
        }
        headers = [(name.lower().encode(), value.encode()) for name, value in shown.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def plain_problem(
    status: int,
    detail: str = "",
    *,
    fix: str | None = None,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Plain:
    """An answer that says what is wrong. more: extension members, such as `errors`."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
    }
    if detail:
        body["detail"] = detail
    if fix:
        body["fix"] = fix
    return Plain(status, msgspec.json.encode(body | more), PROBLEM, headers)
