"""What a driver raises, in the terms of the error tree.

Drivers raise Unavailable, Throttled, Denied and Rejected. What else comes out of them is either the
network's fault (OSError, which holds every socket error and timeout, or an end in the middle of a
stream): tried again; or nobody knows whose: Unknown.
"""

import asyncio
import logging

from gateway.core.errors import BerrygateError, Denied, Rejected, Unavailable, Unknown

log = logging.getLogger(__name__)

_NETWORK = (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError)


def classified(name: str, error: Exception) -> BerrygateError:
    """The same in the terms of the tree. name: the bridge's, for the log."""
    if isinstance(error, Unavailable | Denied | Rejected):
        return error
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, _NETWORK):
        return Unavailable(text)
    log.error("bridge %s: the driver failed: %s", name, text, exc_info=error)
    return Unknown(f"driver failed: {text}")
