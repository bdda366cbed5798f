"""Broker URLs. Apart from the client, so that reading a configuration does not load it."""

from urllib.parse import unquote, urlsplit

from gateway.core.contracts import Endpoint


def parse_url(url: str) -> Endpoint:
    """`mqtt://host:1883`, `mqtts://user:password@host:8883`. Raises ValueError; the message never
    holds the URL, which may hold a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # its text quotes what it took for the port, which may be a password
        raise ValueError(
            "not a URL; in a user name or password write / as %2F, : as %3A, @ as %40"
        ) from None
    if parts.scheme not in ("mqtt", "mqtts"):
        raise ValueError("not a broker's URL; expected mqtt://host or mqtts://host")
    if not parts.hostname:
        raise ValueError("a broker's URL needs a host, such as mqtt://host:1883")
    tls = parts.scheme == "mqtts"
    return Endpoint(
        host=parts.hostname,
        port=port or (8883 if tls else 1883),
        tls=tls,
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )
