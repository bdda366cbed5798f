"""Logging: for people on a terminal, as fields for systemd's journal, the same calls for both.

Every module logs with the standard library; here is the only place that decides what becomes of
it. Records go to stderr, one line each: a traceback, too, for the journal makes a record of every
line and would tear it apart.
"""

import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.processors import LogfmtRenderer
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor

from gateway.core.secrecy import concealed_line
from gateway.log_limit import Limit

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # syslog(3)
_LEVELS = ("critical", "error", "warning", "info", "debug")
_QUIET = {
    "uvicorn": logging.ERROR,  # its warnings are about what strangers send to the port
    "uvicorn.access": logging.CRITICAL,
    "paho": logging.WARNING,
    "asyncio": logging.WARNING,
    "watchfiles": logging.WARNING,
}


class _Formatter(ProcessorFormatter):
    """The last look at a line: whatever brought a secret there, it goes no further."""

    def format(self, record: logging.LogRecord) -> str:
        return concealed_line(super().format(record))


def configure(
    verbose: int = 0, environ: Mapping[str, str] = os.environ, stream: TextIO = sys.stderr
) -> None:
    """Log to `stream`, in the form that fits what it is connected to.

    Level: `info`; `debug` with `verbose`; else what $BERRYGATE_LOG says, if it is a level's name.
    """
    handler = logging.StreamHandler(stream)
    handler.addFilter(Limit())
    handler.setFormatter(
        _Formatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                _one_line,
            ],
            processors=[ProcessorFormatter.remove_processors_meta, *_renderers(stream, environ)],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    wanted = environ.get("BERRYGATE_LOG", "").lower()
    level = "debug" if verbose else wanted if wanted in _LEVELS else "info"
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    logging.captureWarnings(True)
    _say_where_it_hung(stream)
    _catch_what_nobody_caught()


def _renderers(stream: TextIO, environ: Mapping[str, str]) -> list[Processor]:
    if stream.isatty():
        colors = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        return [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(
                colors=colors, exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
            ),
        ]
    fields: list[Processor] = [structlog.processors.format_exc_info]
    if _is_journal(stream, environ):
        return [*fields, _journal_line]
    return [
        *fields,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        LogfmtRenderer(key_order=["timestamp", "level", "logger", "event"]),
    ]


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether `stream` goes to systemd's journal. Programs inherit $JOURNAL_STREAM from a desktop
    session and write elsewhere; that is why it names device and inode (systemd.exec(5))."""
    named = environ.get("JOURNAL_STREAM", "")
    if not named:
        return bool(environ.get("INVOCATION_ID"))
    try:
        status = os.fstat(stream.fileno())
    except OSError:
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def _one_line(logger: Any, method: str, event: EventDict) -> EventDict:
    """What devices call themselves ends up in texts: no line breaks that forge a record, no
    escape sequences for the terminal."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            shown = (c if c.isprintable() else repr(c)[1:-1] for c in value)
            event[key] = "".join(shown)
    return event


def _journal_line(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    """`<priority>text key=value`; the journal adds the time (sd-daemon(3))."""
    priority = _PRIORITIES.get(event.pop("level", "info"), 6)
    text = event.pop("event", "")
    fields = LogfmtRenderer(key_order=["logger"])(logger, method, event)
    return f"<{priority}>{text} {fields}"


def _say_where_it_hung(stream: TextIO) -> None:
    """Where each thread is, when the service manager's watchdog ends us with SIGABRT."""
    with suppress(OSError, ValueError):  # a stream without a file, as tests have it
        faulthandler.enable(stream)


def _catch_what_nobody_caught() -> None:
    """What ends the program or a thread is a record, not a traceback in pieces."""
    log = logging.getLogger("gateway")

    def crashed(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        log.critical("stopped by an error nobody expected", exc_info=(kind, error, trace))

    def thread_crashed(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            name = args.thread.name if args.thread else "?"
            trace = (args.exc_type, args.exc_value, args.exc_traceback)
            log.critical("thread %s stopped by an error nobody expected", name, exc_info=trace)

    sys.excepthook = crashed
    threading.excepthook = thread_crashed
