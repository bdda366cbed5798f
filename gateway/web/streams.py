"""What goes over the control socket in bulk: history out and history in.

`export` answers {"ok": null}, then again and again {"next": {"size", "rows", "share"}} and so many
bytes, and at last {"end": {...}}. `import` answers {"ok": null}; the client sends {"size": …} and
so many bytes, and waits for {"next": {...}}, which tells what is stored; size 0 ends it and is
answered by {"end": {...}}. An {"error": …} may come in place of each answer and is the last.
"""

import asyncio
from contextlib import aclosing
from typing import Any

import msgspec

from gateway.web.calls import arguments, call_errors
from gateway.web.house import House
from gateway.web.lines import CallError, line
from gateway.web.params import ExportParams, ImportParams

MOST_PIECE = 256 * 1024
"""The most that a client may send at once (bytes)."""


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    """What comes before the bytes."""

    size: int


async def send_export(house: House, args: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    """Answer `export`. Raises CallError, ConnectionError."""
    asked = arguments(ExportParams, args)
    with call_errors("export"), house.exporting(asked.selection) as export:
        begun = False
        async with aclosing(export.pieces()) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                if not begun:
                    writer.write(line({"ok": None}))
                    begun = True
                head = {"size": len(piece.data), "rows": piece.rows, "share": piece.share}
                writer.write(line({"next": head}))
                writer.write(piece.data)
                await writer.drain()
        writer.write(line({"end": export.totals()}))


async def take_import(
    house: House,
    args: dict[str, Any],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Answer `import`. Raises CallError, ConnectionError."""
    asked = arguments(ImportParams, args)
    with call_errors("import"), house.importing(asked.options) as taking:
        writer.write(line({"ok": None}))
        await writer.drain()
        while size := await _size(reader):
            await taking.feed(await reader.readexactly(size))
            writer.write(line({"next": taking.counts.told()}))
            await writer.drain()
        await taking.feed(b"", last=True)
        writer.write(line({"end": taking.counts.told()}))


async def _size(reader: asyncio.StreamReader) -> int:
    """How many bytes come now. Raises CallError, ConnectionError where nothing comes any more."""
    try:
        head = await reader.readuntil()
        size = msgspec.json.decode(head, type=_Head).size
    except asyncio.IncompleteReadError as error:
        raise ConnectionError("the client is gone") from error
    except (asyncio.LimitOverrunError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CallError("usage", f"not a size: {error}") from error
    if not 0 <= size <= MOST_PIECE:
        raise CallError("usage", f"a piece has at most {MOST_PIECE} bytes")
    return size
