"""Bodies posted to one place of an HTTP server, over a urllib3 pool."""

import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlencode

from gateway.io.here import is_here
from gateway.io.http import Answer, make_answer, network_failure

if TYPE_CHECKING:
    import urllib3

Post = Callable[[bytes], Answer]
"""Posts a body; blocks. Raises Unavailable."""
_GZIP_LEVEL = 1  # 6 takes four times as long for a tenth less


def posting(
    pool: "urllib3.PoolManager",
    where: str,
    query: Mapping[str, str | None],
    headers: Mapping[str, str],
    timeout: float,
    gzip: Literal["auto"] | bool,
) -> Post:
    """What posts to the URL `where` with a query, of which empty parts are left out. timeout: of
    each (s). gzip: compress; auto: unless the server is on this machine. What clients of servers do
    above that, each time anew, costs as much as the post itself."""
    import urllib3

    url = urllib3.util.parse_url(where)
    target = f"{url.path}?{urlencode({key: value for key, value in query.items() if value})}"
    connection = pool.connection_from_url(url.url)
    zipped = not is_here(url.host or "") if gzip == "auto" else gzip
    packed = _gzipped if zipped else bytes
    sent = {**headers, "Content-Encoding": "gzip"} if zipped else dict(headers)
    limit = urllib3.Timeout(total=timeout)

    def post(body: bytes) -> Answer:
        try:
            answer = connection.urlopen(
                "POST", target, packed(body), sent, redirect=False, timeout=limit
            )
        except urllib3.exceptions.HTTPError as error:
            raise network_failure(error) from error
        return make_answer(answer.status, answer.data, answer.headers)

    return post


def _gzipped(body: bytes) -> bytes:
    packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()
