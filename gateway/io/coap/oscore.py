"""OSCORE (RFC 8613): requests that only who has a device's key can make, and answers only it reads.

aiocoap brings the cryptography; what it brings for servers needs more libraries than that. Names of
it that are not public are used here; a test with its client notices when they change.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiocoap import Message, oscore
from aiocoap.error import RenderableError
from aiocoap.numbers.codes import (
    BAD_OPTION,
    BAD_REQUEST,
    FETCH,
    FORBIDDEN,
    METHOD_NOT_ALLOWED,
    POST,
    UNAUTHORIZED,
    Code,
)
from aiocoap.pipe import Pipe

from gateway.io.coap.site import TELEMETRY, Site

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Key:
    """What a device and the gateway share. client: the device's Sender ID; server: ours."""

    client: bytes
    server: bytes
    secret: bytes = field(repr=False)
    salt: bytes = field(default=b"", repr=False)

    @property
    def fingerprint(self) -> str:
        """Tells keys apart without telling them: numbers that were used with one say nothing of
        another."""
        whole = b"".join(
            len(each).to_bytes(2, "big") + each
            for each in (self.client, self.server, self.secret, self.salt)
        )
        return hashlib.sha256(b"berrygate" + whole).hexdigest()[:16]


class _Context(oscore.FilesystemSecurityContext):  # type: ignore[misc]
    """One device's. In its directory are only numbers that were used: one used twice would give
    the key away. The key itself stays in the configuration."""

    lockfile: Any

    def __init__(self, directory: Path, device: str, key: Key) -> None:
        self.device = device
        self._key = key
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(str(directory))

    def _load(self) -> None:
        key = self._key
        self.alg_aead = oscore.algorithms[oscore.DEFAULT_ALGORITHM]
        self.hashfun = oscore.hashfunctions[oscore.DEFAULT_HASHFUNCTION]
        self.sender_id, self.recipient_id, self.id_context = key.server, key.client, None
        self.derive_keys(key.salt, key.secret)
        window = oscore.ReplayWindow(oscore.DEFAULT_WINDOWSIZE, self._replay_window_changed)
        self.recipient_replay_window = window
        self.sender_sequence_number = 0
        self.replay_window_persisted = True
        file = Path(self.basedir) / "sequence.json"
        if not file.exists():
            window.initialize_empty()
            return
        used = json.loads(file.read_text())
        self.sender_sequence_number = int(used["next-to-send"])
        self.replay_window_persisted = used["received"] != "unknown"
        if self.replay_window_persisted:
            window.initialize_from_persisted(used["received"])
        # Else we were killed: the device is asked to prove that it speaks now (Echo, RFC 9175).

    def close(self) -> None:
        """Write down what was used, and let somebody else have the directory."""
        lock: Any = self.lockfile
        if lock is None:
            return
        try:
            self._destroy()
        except OSError as error:
            # What is on the disk is enough: numbers are taken in advance.
            log.warning("coap: %s: %s", self.basedir, error)
            lock.release()
            self.lockfile = None


class Protected:
    """A site where devices write with keys, each only as itself; reading needs none. keys: by
    device. directory: where it is kept which numbers were used. Raises OSError, ValueError."""

    def __init__(self, site: Site, keys: Mapping[str, Key], directory: Path) -> None:
        self._site = site
        self._directory = directory
        self._contexts: dict[bytes, _Context] = {}
        try:
            for device, key in keys.items():
                self.admit(device, key)
        except BaseException:
            self.close()
            raise

    def admit(self, device: str, key: Key) -> None:
        """A device's key from now on, in place of the one it had. Raises OSError, ValueError."""
        context = _Context(self._directory / key.fingerprint, device, key)
        self.expel(device)
        self._contexts[key.client] = context

    def expel(self, device: str) -> None:
        """A device's key is worth nothing any more."""
        for client in [c for c, context in self._contexts.items() if context.device == device]:
            self._contexts.pop(client).close()

    def close(self) -> None:
        """See _Context.close."""
        for context in self._contexts.values():
            context.close()

    async def render_to_pipe(self, pipe: Pipe) -> None:
        """Answer a request; called by aiocoap."""
        request = pipe.request
        try:
            header = oscore.verify_start(request)
        except oscore.NotAProtectedMessage:
            await self._plain(pipe)
            return
        if request.code not in (POST, FETCH):
            _end(pipe, METHOD_NOT_ALLOWED)
            return
        context = self._contexts.get(header.get(oscore.COSE_KID))
        if context is None:
            _end(pipe, UNAUTHORIZED, b"Security context not found")
            return
        sealed = _opened(context, pipe)
        if sealed is not None:
            await self._protected(context, sealed)

    async def _plain(self, pipe: Pipe) -> None:
        if tuple(pipe.request.opt.uri_path[:1]) == (TELEMETRY,):
            _end(pipe, UNAUTHORIZED, b"OSCORE is needed")
        else:
            await self._site.render_to_pipe(pipe)

    async def _protected(self, context: _Context, sealed: "_Sealed") -> None:
        path = tuple(sealed.request.opt.uri_path)
        if path[:1] == (TELEMETRY,) and path[1:] != (context.device,):
            sealed.add_response(Message(code=FORBIDDEN), is_last=True)
        else:
            await self._site.render_to_pipe(sealed)


class _Sealed:
    """A pipe whose request was opened, and whose answers are sealed."""

    def __init__(self, pipe: Pipe, request: Message, context: Any, request_id: Any) -> None:
        self.request = request
        self._pipe = pipe
        self._context = context
        self._request_id = request_id

    def add_response(self, message: Message, is_last: bool = False) -> None:
        """Send an answer."""
        number = message.opt.observe
        if number is not None:
            message.opt.observe = 0
        sealed, _ = self._context.protect(message, self._request_id)
        sealed.transport_tuning = message.transport_tuning
        if number is not None:
            sealed.opt.observe = number
        self._pipe.add_response(sealed, is_last=is_last)


def _opened(context: _Context, pipe: Pipe) -> "_Sealed | None":
    """The request inside; None where it could not be opened, which was answered then."""
    request = pipe.request
    try:
        inside, request_id = context.unprotect(request)
    except RenderableError:
        raise  # the question for an echo among them, which has its own answer
    except oscore.ReplayError:
        _end(pipe, UNAUTHORIZED, b"Replay detected", max_age=0)
    except oscore.DecodeError:
        _end(pipe, BAD_OPTION, b"Failed to decode COSE")
    except oscore.ProtectionInvalid:
        _end(pipe, BAD_REQUEST, b"Decryption failed")
    else:
        inside.remote, inside.mtype = request.remote, request.mtype
        return _Sealed(pipe, inside, context.context_for_response(), request_id)
    return None


def _end(pipe: Pipe, code: Code, text: bytes = b"", **options: int) -> None:
    pipe.add_response(Message(code=code, payload=text, **options), is_last=True)
