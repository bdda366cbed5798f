"""Alerts and silences over HTTP."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response

from gateway.web.alerts import AckParams, AlertsParams, SilenceParams, at_work, make_silence
from gateway.web.answers import answer, known
from gateway.web.house import House
from gateway.web.models import Answer
from gateway.web.params import MOST_ID, NoParams

NumberPath = Annotated[int, Path(alias="id", ge=1, le=MOST_ID)]


class Alert(Answer):
    """One alert. Times in epoch ms."""

    id: int
    rule: str
    source: str
    """A device's id, or a part such as bridge/home."""
    severity: Literal["info", "warning", "critical"]
    state: Literal["pending", "firing", "acknowledged", "silenced", "resolved"]
    since: int
    fired: int | None
    ended: int | None
    value: float | bool | str | None
    limit: str
    message: str
    labels: dict[str, str]
    count: int
    """How often it fired."""
    acknowledged: int | None
    acknowledged_by: str | None
    silenced_until: int | None
    told: list[str]
    """The channels that have been told."""


class Silence(Answer):
    """One silence. Times in epoch ms."""

    id: int
    rule: str
    source: str
    labels: dict[str, str]
    start: int
    end: int
    by: str
    comment: str


def add_alerts(routes: APIRouter, house: House) -> None:
    """Add the routes."""

    @routes.get("/alerts", response_model=list[Alert], tags=["alerts"])
    async def alerts(asked: Annotated[AlertsParams, Query()]) -> Response:
        """Alerts, the newest first."""
        return answer(at_work(house).alerts(asked.state))

    @routes.post("/alerts/{id}/ack", response_model=Alert, tags=["alerts"])
    async def acknowledge(
        number: NumberPath, _: Annotated[NoParams, Query()], asked: AckParams | None = None
    ) -> Response:
        """Take care of it: it is not said again, and nobody else is told."""
        with known():
            by = asked.by if asked else ""
            return answer(await at_work(house).acknowledge(number, by))

    @routes.get("/silences", response_model=list[Silence], tags=["alerts"])
    async def silences(_: Annotated[NoParams, Query()]) -> Response:
        """Silences that have not ended, the one that ends first first."""
        return answer(at_work(house).silences())

    @routes.post("/silences", response_model=Silence, status_code=201, tags=["alerts"])
    async def silence(asked: SilenceParams, _: Annotated[NoParams, Query()]) -> Response:
        """Tell nobody of some alerts for a while; they are shown all the same."""
        with known():
            return answer(await make_silence(house, asked), 201)

    @routes.delete("/silences/{id}", response_model=Silence, tags=["alerts"])
    async def end_silence(number: NumberPath, _: Annotated[NoParams, Query()]) -> Response:
        """End a silence now."""
        with known():
            return answer(await at_work(house).end_silence(number))
