"""A small server that answers writes as InfluxDB 2 does: partial writes, bad tokens, overload.

No package of InfluxDB 2 can be had here. Answers follow its API reference ("POST /api/v2/write").
Points are known by measurement, tags and time, as there: writing one again changes nothing.
"""

import gzip
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN, ORG, BUCKET = "secret-token", "org", "bucket"
_LINE = re.compile(
    r"(?P<key>(?:\\.|[^ \\])+) (?P<fields>(?:\\.|\"(?:\\.|[^\"\\])*\"|[^ \\\"])+) (?P<time>-?\d+)"
)
_FIELD = re.compile(r"((?:\\.|[^=,\\])+)=(\"(?:\\.|[^\"\\])*\"|[^,]+)")


class Influx2:
    """The server. mode: ok, overloaded, unavailable, hang, reset or too_large.

    points: (measurement and tags, time) -> fields. requests: how many writes were asked for.
    """

    def __init__(self) -> None:
        self.mode = "ok"
        self.points: dict[tuple[str, int], dict[str, Any]] = {}
        self.types: dict[tuple[str, str], str] = {}
        self.requests = 0
        self.release = threading.Event()
        self._lock = threading.Lock()
        house = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                house.requests += 1
                if house.mode == "hang":
                    house.release.wait(30)
                if house.mode == "reset":
                    self.connection.close()
                    return
                status, answer, headers = house.answer(self.path, self.headers, body)
                data = json.dumps(answer).encode() if answer else b""
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def answer(self, path: str, headers: Any, body: bytes) -> tuple[int, Any, dict[str, str]]:
        """Status, body and headers for a write."""
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if parts.path != "/api/v2/write":
            return 404, error("not found", "path not found"), {}
        if headers.get("Authorization") != f"Token {TOKEN}":
            return 401, error("unauthorized", "unauthorized access"), {}
        if query.get("bucket") != BUCKET:
            message = f'bucket "{query.get("bucket")}" not found'
            return 404, error("not found", message), {}
        refused = {
            "overloaded": (429, error("too many requests", "over the limit"), {"Retry-After": "7"}),
            "unavailable": (503, error("unavailable", "starting"), {}),
            "too_large": (413, error("request too large", "body too large"), {}),
        }.get(self.mode)
        if refused is not None:
            return refused
        assert query.get("precision") == "ns"
        if headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with self._lock:
            return self._write(body.decode().split("\n"))

    def _write(self, lines: list[str]) -> tuple[int, Any, dict[str, str]]:
        matches = [(line, _LINE.fullmatch(line)) for line in lines if line]
        for line, match in matches:
            if match is None:
                return 400, error("invalid", f"unable to parse '{line}': invalid format"), {}
        conflict, dropped = "", 0
        for _, match in matches:
            assert match is not None
            wrong = self._point(match)
            conflict, dropped = conflict or wrong, dropped + bool(wrong)
        if conflict:
            text = f"partial write: field type conflict: {conflict} dropped={dropped}"
            message = f"failure writing points to database: {text}"
            return 422, error("unprocessable entity", message), {}
        return 204, None, {}

    def _point(self, match: "re.Match[str]") -> str:
        """Keep one point; what is wrong with it, or ""."""
        measurement = match["key"].split(",")[0]
        fields = dict(_FIELD.findall(match["fields"]))
        for name, value in fields.items():
            kind = kind_of(value)
            known = self.types.setdefault((measurement, name), kind)
            if known != kind:
                return (
                    f'input field "{name}" on measurement "{measurement}" is type {kind}, '
                    f"already exists as type {known}"
                )
        self.points.setdefault((match["key"], int(match["time"])), {}).update(fields)
        return ""

    def values(self, measurement: str, field: str) -> list[str]:
        """Every value of a field, by time, as written."""
        found = [
            (moment, fields[field])
            for (key, moment), fields in self.points.items()
            if key.split(",")[0] == measurement and field in fields
        ]
        return [value for _, value in sorted(found)]

    def start(self) -> None:
        """Serve."""
        self._thread.start()

    def stop(self) -> None:
        """Serve no more."""
        self.release.set()
        self._server.shutdown()
        self._server.server_close()


def kind_of(value: str) -> str:
    """A field's type by how it is written."""
    if value.startswith('"'):
        return "string"
    if value in ("true", "false"):
        return "boolean"
    return "integer" if value.endswith("i") else "float"


def error(code: str, message: str) -> dict[str, str]:
    """The body of a refusal."""
    return {"code": code, "message": message}


@contextmanager
def influx_2() -> Iterator[Influx2]:
    """A running server."""
    server = Influx2()
    server.start()
    try:
        yield server
    finally:
        server.stop()


if __name__ == "__main__":
    with influx_2() as running:
        print(running.url, flush=True)
        while True:
            time.sleep(60)
