"""How the API answers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from fastapi import HTTPException, Response


def answer(value: Any, status: int = 200) -> Response:
    """`value` as JSON; NaN and infinities become null. Not through FastAPI's own encoder, which
    takes 50 times as long on a list of 10,000 devices."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


@contextmanager
def known() -> Iterator[None]:
    """What is not known is 404; a question that does not fit what is known is 422."""
    try:
        yield
    except LookupError as error:
        raise HTTPException(404, str(error.args[0]) if error.args else "not known") from error
    except ValueError as error:
        raise HTTPException(422, str(error)) from error
