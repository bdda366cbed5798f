"""Errors as RFC 9457 problem details, whatever part of the server they come from."""

import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from gateway.core.errors import BerrygateError, Conflict, Denied, Rejected, Throttled, Unavailable
from gateway.web.plain import PROBLEM, plain_problem

_VARIES = re.compile(r"\{\w+\}")

SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "What went wrong, and where it is known, what to do (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "fix": {"type": "string", "description": "What to do about it."},
        "reasons": {"type": "array", "items": {"type": "string"}},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["where", "message"],
                "properties": {"where": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}

RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {
        "description": description,
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for code, description in (("4XX", "The request is at fault."), ("5XX", "The gateway is."))
}
"""Describes problems in the OpenAPI document; ranges, because every operation can give each."""


def problem(
    status: int,
    detail: str = "",
    *,
    fix: str | None = None,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """A response that says what is wrong. more: extension members, such as `errors`."""
    plain = plain_problem(status, detail, fix=fix, headers=headers, **more)
    return Response(plain.body, plain.status, plain.headers, plain.media_type)


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(BerrygateError, _expected)
    app.add_exception_handler(Exception, _bug)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for this class"
    detail = error.detail
    if error.status_code == 404 and detail == "Not Found":
        detail = f"nothing is at {request.url.path}"
    headers = dict(error.headers or {})
    if error.status_code == 405:
        detail = f"{request.method} is not possible on {request.url.path}"
        headers["Allow"] = ", ".join(sorted(_allowed(request))) or headers.get("Allow", "")
    return problem(error.status_code, detail, headers=headers)


def _allowed(request: Request) -> set[str]:
    """Every method of a path by the description; a route knows its own only."""
    for path, operations in request.app.openapi()["paths"].items():
        form = "[^/]+".join(map(re.escape, _VARIES.split(path)))
        if re.fullmatch(form, request.url.path):
            return {method.upper() for method in operations}
    return set()


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "registered for this class"
    errors = [
        {"where": ".".join(str(part) for part in found["loc"]), "message": found["msg"]}
        for found in error.errors()
    ]
    detail = "; ".join(f"{found['where']}: {found['message']}" for found in errors)
    return problem(422, detail, errors=errors)


async def _expected(request: Request, error: Exception) -> Response:
    assert isinstance(error, BerrygateError), "registered for this class"
    if isinstance(error, Unavailable):
        after = {"Retry-After": str(round(error.after))} if isinstance(error, Throttled) else None
        return problem(503, str(error), fix=error.fix, headers=after)
    status = {Denied: 403, Conflict: 409, Rejected: 422}.get(type(error), 400)
    return problem(status, str(error), fix=error.fix)


async def _bug(request: Request, error: Exception) -> Response:
    # The text of an unexpected error may hold what a client must not see; the log has it.
    return problem(500, "the gateway failed on this request; its log says why")
