"""What the command line can ask of the running gateway, by name."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gateway import __version__
from gateway.core.errors import BerrygateError
from gateway.web.alerts import alert_calls
from gateway.web.broker_calls import broker_calls
from gateway.web.commands import command_calls
from gateway.web.house import House
from gateway.web.lines import CallError, Request
from gateway.web.managing import managing_calls
from gateway.web.params import (
    BridgeParams,
    DeviceParams,
    HealthParams,
    NamedLettersParams,
    NamedReplayParams,
    NamedRetryParams,
    NoParams,
    OverviewParams,
    PerformanceParams,
    QueryParams,
    ReloadParams,
    SeriesParams,
    health_stretch,
    stretch,
)
from gateway.web.twins import twin_calls

log = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)
Call = tuple[type[BaseModel], Callable[[Any], Awaitable[Any]]]


def calls(house: House) -> dict[str, Call]:
    """What can be asked: name -> (its arguments, what answers)."""

    async def device(asked: DeviceParams) -> Any:
        return house.device(asked.device)

    async def overview(asked: OverviewParams) -> Any:
        return house.overview(asked.sort, asked.filter, asked.limit, asked.offset)

    async def reload(asked: ReloadParams) -> Any:
        return await house.reload(asked.confirm)

    async def keep(_: NoParams) -> Any:
        return await house.keep()

    def plain(ask: Callable[[], Any]) -> Call:
        async def call(_: NoParams) -> Any:
            return ask()

        return NoParams, call

    return {
        "version": plain(lambda: {"version": __version__}),
        "status": plain(house.status),
        "bridges": plain(house.bridges),
        "health": plain(house.health),
        "overview": (OverviewParams, overview),
        "device": (DeviceParams, device),
        "reload": (ReloadParams, reload),
        "keep": (NoParams, keep),
        **_performance_calls(house),
        **_history_calls(house),
        **_bridge_calls(house),
        **broker_calls(house),
        **alert_calls(house),
        **command_calls(house),
        **managing_calls(house),
        **twin_calls(house),
    }


def _performance_calls(house: House) -> dict[str, Call]:
    async def performance(asked: PerformanceParams) -> Any:
        return house.performance(asked.window)

    return {"performance": (PerformanceParams, performance)}


def _history_calls(house: House) -> dict[str, Call]:
    async def query(asked: QueryParams) -> dict[str, Any]:
        if asked.start > asked.end:
            raise ValueError("start is after end")
        return await stretch(house, asked)

    async def health_history(asked: HealthParams) -> Any:
        return await health_stretch(house, asked)

    async def series(asked: SeriesParams) -> Any:
        return await house.series(asked.device)

    return {
        "query": (QueryParams, query),
        "series": (SeriesParams, series),
        "health_history": (HealthParams, health_history),
    }


def _bridge_calls(house: House) -> dict[str, Call]:
    async def pause(asked: BridgeParams) -> Any:
        return await house.pause(asked.name)

    async def resume(asked: BridgeParams) -> Any:
        return await house.resume(asked.name)

    async def replay(asked: NamedReplayParams) -> Any:
        return await house.replay(asked.name, asked.start, asked.end, asked.devices)

    async def stop_replay(asked: BridgeParams) -> Any:
        return await house.stop_replay(asked.name)

    async def errors(asked: BridgeParams) -> Any:
        return house.errors(asked.name)

    async def letters(asked: NamedLettersParams) -> Any:
        return await house.letters(asked.name, asked.limit, asked.before)

    async def retry(asked: NamedRetryParams) -> Any:
        return await house.retry(asked.name, asked.ids, asked.after)

    return {
        "pause": (BridgeParams, pause),
        "resume": (BridgeParams, resume),
        "replay": (NamedReplayParams, replay),
        "stop_replay": (BridgeParams, stop_replay),
        "errors": (BridgeParams, errors),
        "dead_letters": (NamedLettersParams, letters),
        "retry": (NamedRetryParams, retry),
    }


async def perform(known: dict[str, Call], request: Request) -> Any:
    """The answer to `request`, one of the calls in `known`. Raises CallError."""
    if request.call not in known:
        raise CallError("usage", f"no call {request.call!r}; is the gateway older than this?")
    model, call = known[request.call]
    asked = arguments(model, request.args)
    with call_errors(request.call):
        return await call(asked)


@contextmanager
def call_errors(name: str) -> Iterator[None]:
    """What goes wrong inside becomes a CallError; name: of the call."""
    try:
        yield
    except (CallError, ConnectionError, asyncio.IncompleteReadError):
        raise
    except LookupError as error:
        raise CallError("unknown", str(error.args[0]) if error.args else "not known") from error
    except ValueError as error:
        raise CallError("usage", str(error)) from error
    except BerrygateError as error:
        raise CallError("failed", str(error), error.fix) from error
    except OSError as error:
        fix = "see that the disk has room: berrygate doctor"
        raise CallError("failed", str(error), fix) from error
    except Exception as error:
        # The edge: a bug behind one call must not end the connection without a word.
        log.exception("control: %s failed", name)
        raise CallError("failed", "the gateway failed on this; its log says why") from error


def arguments(model: type[M], args: dict[str, Any]) -> M:
    """`args` as `model`. Raises CallError."""
    try:
        return model.model_validate(args)
    except ValidationError as error:
        found = [
            ": ".join([*(str(part) for part in each["loc"]), each["msg"]])
            for each in error.errors(include_url=False, include_context=False)
        ]
        raise CallError("usage", "; ".join(found)) from error
