"""A sink that costs little: takes InfluxDB writes, keeps them as they came, answers 204.

python -m gateway.bench.sink PORT
`GET /times` answers a float64 a message number: when it came first (s, time.monotonic), NaN where
it never did. `GET /lines` answers how many lines came in all. Only then bodies are unpacked, so
that what is measured is the writer.
"""

import asyncio
import math
import re
import sys
import time
import zlib
from array import array

_SEQUENCE = re.compile(rb"[ ,]seq=(\d+)")
_LIMIT = 2**24


class Sink:
    """See the module."""

    def __init__(self) -> None:
        self._bodies: list[tuple[float, bytes]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *fields = head.split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (f.partition(":") for f in fields)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if first.startswith("GET "):
                    answer = self._answer(first.split()[1])
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer))
                    writer.write(answer)
                    continue
                packed = headers.get("content-encoding") == "gzip"
                self._bodies.append((time.monotonic(), body if packed else zlib.compress(body, 1)))
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _answer(self, path: str) -> bytes:
        if path == "/times":
            return times(self._bodies)
        if path == "/lines":
            return str(sum(len(numbers(body)) for _, body in self._bodies)).encode()
        return b""


def numbers(body: bytes) -> list[int]:
    """The message numbers in a packed body; lines without one are not ours."""
    return [int(found) for found in _SEQUENCE.findall(zlib.decompress(body, 47))]


def times(bodies: list[tuple[float, bytes]]) -> bytes:
    """When each message came first."""
    found = array("d")
    for moment, body in bodies:
        for number in numbers(body):
            if number >= len(found):
                found.extend([math.nan] * (number + 1 - len(found)))
            if math.isnan(found[number]):
                found[number] = moment
    return found.tobytes()


async def main(port: int) -> None:
    """Serve until ended."""
    server = await asyncio.start_server(Sink().serve, "127.0.0.1", port, limit=_LIMIT)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
