"""A way to a port of this machine that comes and goes: while it is away its connections are reset,
and new ones are refused.

python -m tests.support.flapping PORT TARGET UP DOWN
"""

import asyncio
import contextlib
import socket
import struct
import sys
from asyncio import StreamReader, StreamWriter

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST


async def main(port: int, target: int, up: float, down: float) -> None:
    """Until it is ended."""
    writers: set[StreamWriter] = set()

    async def pump(source: StreamReader, sink: StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
        sink.close()

    async def through(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.close()
            return
        writers.update((writer, back))
        await asyncio.gather(pump(reader, back), pump(there, writer))
        writers.difference_update((writer, back))

    while True:
        server = await asyncio.start_server(through, "127.0.0.1", port, reuse_address=True)
        await asyncio.sleep(up)
        if not down:
            await asyncio.Event().wait()
        server.close()
        for writer in tuple(writers):
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        writers.clear()
        await asyncio.sleep(down)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
