"""`/api/v1`: the gateway as JSON."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from gateway.web import models
from gateway.web.alert_routes import add_alerts
from gateway.web.answers import answer
from gateway.web.answers import known as _known
from gateway.web.command_routes import add_commands
from gateway.web.export import add_export
from gateway.web.house import House
from gateway.web.managing_routes import add_managing
from gateway.web.params import (
    HealthParams,
    LettersParams,
    NoParams,
    PerformanceParams,
    QueryParams,
    ReplayParams,
    RetryParams,
    SeriesParams,
    health_stretch,
    stretch,
)
from gateway.web.problems import RESPONSES
from gateway.web.twin_routes import add_twins

BridgePath = Annotated[str, Path(alias="name", pattern=r"^[a-z0-9_-]{1,64}$")]
Nothing = Annotated[NoParams, Query()]


def router(house: House) -> APIRouter:
    """The API of `house`."""
    routes = APIRouter(prefix="/api/v1", responses=RESPONSES)
    _add_state(routes, house)
    _add_bridges(routes, house)
    _add_errors(routes, house)
    _add_letters(routes, house)
    add_managing(routes, house)
    _add_history(routes, house)
    add_alerts(routes, house)
    add_commands(routes, house)
    add_twins(routes, house)
    return routes


def _add_state(routes: APIRouter, house: House) -> None:
    @routes.get("/status", response_model=models.Status, tags=["state"])
    async def status(_: Nothing) -> Response:
        """Everything at a glance: readiness, health, ledger, journal, bridges."""
        return answer(house.status())

    @routes.get("/health", response_model=models.Health, tags=["state"])
    async def health(_: Nothing) -> Response:
        """The health of the whole and of each part, with reasons."""
        return answer(house.health())

    @routes.get("/health/history", response_model=models.HealthHistory, tags=["state"])
    async def health_history(asked: Annotated[HealthParams, Query()]) -> Response:
        """How the whole or a part was: a point for each change, or the worst of each stretch."""
        with _known():
            return answer(await health_stretch(house, asked))

    @routes.get("/performance", response_model=models.Performance, tags=["state"])
    async def performance(asked: Annotated[PerformanceParams, Query()]) -> Response:
        """Rate and durations per stage, the bottleneck, what limits and why, the event loop."""
        return answer(house.performance(asked.window))


def _add_bridges(routes: APIRouter, house: House) -> None:
    @routes.get("/bridges", response_model=list[models.Bridge], tags=["bridges"])
    async def bridges(_: Nothing) -> Response:
        """The bridges, and how far each has come."""
        return answer(house.bridges())

    @routes.post("/bridges/{name}/pause", response_model=models.Bridge, tags=["bridges"])
    async def pause(bridge: BridgePath, _: Nothing) -> Response:
        """Send nothing until it is resumed, also after a restart; readings wait in the journal."""
        with _known():
            return answer(await house.pause(bridge))

    @routes.post("/bridges/{name}/resume", response_model=models.Bridge, tags=["bridges"])
    async def resume(bridge: BridgePath, _: Nothing) -> Response:
        """Send again; if the bridge is failing, try now."""
        with _known():
            return answer(await house.resume(bridge))

    @routes.post(
        "/bridges/{name}/replay", response_model=models.Replay, status_code=202, tags=["bridges"]
    )
    async def replay(bridge: BridgePath, asked: ReplayParams, _: Nothing) -> Response:
        """Send a stretch of time from the journal again; its progress is shown with the bridge."""
        with _known():
            begun = await house.replay(bridge, asked.start, asked.end, asked.devices)
        return answer(begun, 202)

    @routes.post("/bridges/{name}/replay/stop", response_model=models.Replay, tags=["bridges"])
    async def stop_replay(bridge: BridgePath, _: Nothing) -> Response:
        """End the replay; what it has sent stays sent."""
        with _known():
            return answer(await house.stop_replay(bridge))


def _add_errors(routes: APIRouter, house: House) -> None:
    @routes.get("/bridges/{name}/errors", response_model=models.Errors, tags=["bridges"])
    async def errors(bridge: BridgePath, _: Nothing) -> Response:
        """What went wrong in the last day, by minute and kind of error, and the outages."""
        with _known():
            return answer(house.errors(bridge))


def _add_letters(routes: APIRouter, house: House) -> None:
    @routes.get("/bridges/{name}/dead-letters", response_model=models.Letters, tags=["bridges"])
    async def dead_letters(
        bridge: BridgePath, asked: Annotated[LettersParams, Query()]
    ) -> Response:
        """What the other side refused for good. A source's name shows what could not be decoded."""
        with _known():
            return answer(await house.letters(bridge, asked.limit, asked.before))

    @routes.post(
        "/bridges/{name}/dead-letters/retry", response_model=models.Retried, tags=["bridges"]
    )
    async def retry(bridge: BridgePath, asked: RetryParams, _: Nothing) -> Response:
        """Send dead letters once more; those that are refused again stay."""
        with _known():
            return answer(await house.retry(bridge, asked.ids, asked.after))


def _add_history(routes: APIRouter, house: House) -> None:
    @routes.get("/series", response_model=list[models.Series], tags=["history"])
    async def series(asked: Annotated[SeriesParams, Query()]) -> Response:
        """Which metrics of which devices there is history of."""
        with _known():
            return answer(await house.series(asked.device))

    @routes.get("/query", response_model=models.Points, tags=["history"])
    async def query(asked: Annotated[QueryParams, Query()]) -> Response:
        """A stretch of one series, in at most `points` points; none where start is after end."""
        with _known():
            return answer(await stretch(house, asked))

    add_export(routes, house)
