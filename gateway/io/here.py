"""Whether a server is on this machine: then a network is neither to be spared nor to be feared."""

from ipaddress import ip_address


def is_here(host: str) -> bool:
    """Whether a URL's host is this machine, by its loopback address or the name of that."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
