"""A sink that costs little: takes InfluxDB 2 writes and remembers how late each line was.

`GET /seen` answers {"lines", "numbered" (those with a `seq`), "p50", "p95", "p99"}, the latter in s
from its `sent` to its arrival; `GET /forget` begins anew. So that what is measured is the writer.
"""

import asyncio
import json
import re
import sys
import time
import zlib
from array import array

_SENT = re.compile(rb"sent=([0-9.]+)")
_KEPT = 500_000  # delays; of more only the first are looked at


class Sink:
    """Lines seen, and their delays (s)."""

    def __init__(self) -> None:
        self.lines = self.numbered = 0
        self.delays = array("d")

    def take(self, body: bytes) -> None:
        """A write."""
        now = time.time()
        self.lines += body.count(b"\n") + 1 if body else 0
        self.numbered += body.count(b"seq=")
        if len(self.delays) < _KEPT:
            self.delays.extend(now - float(sent) for sent in _SENT.findall(body))

    def seen(self) -> bytes:
        """As JSON."""
        found = sorted(self.delays) or [0.0]
        at = {f"p{n}": found[min(int(n / 100 * len(found)), len(found) - 1)] for n in (50, 95, 99)}
        return json.dumps({"lines": self.lines, "numbered": self.numbered, **at}).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *fields = head.split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (f.partition(":") for f in fields)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if first.startswith("GET"):
                    if "/forget" in first:
                        self.lines, self.numbered, self.delays = 0, 0, array("d")
                    text = self.seen()
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text
                    )
                    continue
                if headers.get("content-encoding") == "gzip":
                    body = zlib.decompress(body, 31)
                self.take(body)
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.start_server(Sink().serve, "127.0.0.1", port, limit=2**24)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
