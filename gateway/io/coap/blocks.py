"""Requests that come in blocks (RFC 7959, Block1), put together in bounded memory."""

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from aiocoap import Message
from aiocoap.numbers.codes import (
    BAD_REQUEST,
    CONTINUE,
    REQUEST_ENTITY_INCOMPLETE,
    REQUEST_ENTITY_TOO_LARGE,
    SERVICE_UNAVAILABLE,
)
from aiocoap.numbers.optionnumbers import OptionNumber

from gateway.io.coap.server import AGAIN

_PATIENCE = 120.0  # between two blocks of one request (s); a client gives a message up after 93
_NOT_OURS = [OptionNumber.BLOCK1, OptionNumber.BLOCK2, OptionNumber.OBSERVE, OptionNumber.SIZE1]
_RESERVED = 7  # a size exponent that UDP has not


@dataclass(slots=True)
class _Partial:
    data: bytearray = field(default_factory=bytearray)
    touched: float = 0.0


class Blocks:
    """largest: payload taken; most: of all that is not whole yet (bytes)."""

    def __init__(self, largest: int, most: int) -> None:
        self._largest = largest
        self._most = most
        self._partial: OrderedDict[Any, _Partial] = OrderedDict()
        self._held = 0

    def payload(self, request: Message) -> bytes | Message:
        """What a request carries, once it is there; until then, or where that cannot be, what is
        to be answered."""
        if (request.opt.size1 or 0) > self._largest:
            return self.too_large()
        block = request.opt.block1
        if block is None:
            whole: bytes = request.payload
            return whole if len(whole) <= self._largest else self.too_large()
        if block.size_exponent == _RESERVED or not block.is_valid_for_payload_size(
            len(request.payload)
        ):
            return Message(code=BAD_REQUEST, payload=b"block size")
        return self._append(request, block)

    def too_large(self) -> Message:
        """4.13 with the largest that is taken."""
        return Message(code=REQUEST_ENTITY_TOO_LARGE, size1=self._largest)

    def _append(self, request: Message, block: Any) -> bytes | Message:
        key = (request.remote.blockwise_key, request.get_cache_key(_NOT_OURS))
        now = time.monotonic()
        self._forget(now)
        if not block.block_number:
            self._drop(key)
            self._partial[key] = _Partial()
        partial = self._partial.get(key)
        if partial is None or len(partial.data) != block.start:
            return Message(code=REQUEST_ENTITY_INCOMPLETE)
        size = len(partial.data) + len(request.payload)
        # A client that is to send more has more than this.
        if size > self._largest or (block.more and size >= self._largest):
            self._drop(key)
            return self.too_large()
        if block.more and self._held + len(request.payload) > self._most:
            self._drop(key)
            return Message(code=SERVICE_UNAVAILABLE, max_age=AGAIN)
        partial.data += request.payload
        partial.touched = now
        self._held += len(request.payload)
        self._partial.move_to_end(key)
        if block.more:
            return Message(code=CONTINUE, block1=block)
        self._drop(key)
        return bytes(partial.data)

    def _drop(self, key: Any) -> None:
        gone = self._partial.pop(key, None)
        if gone is not None:
            self._held -= len(gone.data)

    def _forget(self, now: float) -> None:
        while self._partial:
            key, oldest = next(iter(self._partial.items()))
            if now - oldest.touched < _PATIENCE:
                return
            self._drop(key)
