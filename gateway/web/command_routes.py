"""Commands to devices over HTTP."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response

from gateway.web.answers import answer, known
from gateway.web.commands import CommandParams, LatestParams, WaitParams, at_work, give, of_device
from gateway.web.house import House
from gateway.web.models import Answer
from gateway.web.params import NoParams

DevicePath = Annotated[str, Path(alias="id", pattern=r"^[a-z0-9_-]{1,64}$")]
NamePath = Annotated[str, Path(alias="name", pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
IdentityPath = Annotated[str, Path(alias="id", pattern=r"^[!-.0-~]{1,128}$")]


class CommandAnswer(Answer):
    """One command. Times in epoch ms."""

    id: str
    device: str
    name: str
    args: dict[str, Any]
    asked_by: str
    """mqtt, http or cli."""
    received: int
    expires: int | None
    status: Literal["accepted", "executing", "ok", "failed", "expired", "rejected"]
    result: Any
    error: str | None
    changed: int
    repeated: bool = False
    """It had come before, and was not done again."""


class CommandsAnswer(Answer):
    """What a device can be told, and what it was told."""

    device: str
    takes: bool
    """Whether it can be told anything."""
    why: str | None
    """Why not."""
    schemas: dict[str, dict[str, Any]] | None
    """By name, the JSON Schema of the arguments of each command; null where its source does not
    know."""
    commands: list[CommandAnswer]
    """The last ones, the newest first."""


def add_commands(routes: APIRouter, house: House) -> None:
    """Add the routes."""

    @routes.post(
        "/devices/{id}/commands/{name}",
        response_model=CommandAnswer,
        responses={202: {"model": CommandAnswer, "description": "It is still being done."}},
        tags=["commands"],
    )
    async def command(
        device: DevicePath,
        name: NamePath,
        asked_for: Annotated[WaitParams, Query()],
        asked: CommandParams | None = None,
    ) -> Response:
        """Have a device do something, once, unless it is too late; its outcome."""
        with known():
            found, ended = await give(
                house, device, name, asked or CommandParams(), asked_for.wait, "http"
            )
        return answer(found, 200 if ended else 202)

    @routes.get("/devices/{id}/commands", response_model=CommandsAnswer, tags=["commands"])
    async def commands(device: DevicePath, asked: Annotated[LatestParams, Query()]) -> Response:
        """What a device can be told, and what it was told last."""
        with known():
            return answer(await of_device(house, device, asked.limit))

    @routes.get("/commands/{id}", response_model=CommandAnswer, tags=["commands"])
    async def outcome(identity: IdentityPath, _: Annotated[NoParams, Query()]) -> Response:
        """What became of a command."""
        with known():
            return answer((await at_work(house).find(identity)).as_dict())
