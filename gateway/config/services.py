"""Whether a channel's address is one that Apprise knows. Apprise is loaded only to be asked."""

import logging
from difflib import get_close_matches
from functools import cache

from gateway.core.secrecy import conceal

_HERE = frozenset(
    ("dbus", "kde", "qt", "glib", "gnome", "macosx", "windows", "syslog", "rsyslog", "tgram-cli")
)
"""Services that put something on this machine's own screen or log: nobody would see it here."""


def check_service(url: str) -> tuple[str, str]:
    """(what is wrong, what to do) with an address; both empty if nothing is. Loads Apprise."""
    conceal([url])  # Apprise says what it cannot use
    scheme = url.partition("://")[0].strip().lower()
    if "://" not in url:
        return "not an address", "such as ntfys://ntfy.sh/topic; see docs/howto/alerts.md"
    try:
        known = _schemes()
    except ImportError:
        command = "pip install berrygate[alerts]"
        return f"channels need: {command}", command
    if scheme in _HERE:
        return f"{scheme}:// shows it on this machine only", "name a service that reaches somebody"
    if scheme not in (*known, "http", "https"):
        close = get_close_matches(scheme, known, 1)
        return f'no service "{scheme}"', f"{close[0]}://…" if close else "one that Apprise knows"
    if not _makes(url):
        return f"{scheme}:// needs more than that, or something else", _how(scheme)
    return "", ""


@cache
def _schemes() -> tuple[str, ...]:
    """Every scheme that Apprise knows. Raises ImportError."""
    from apprise.manager_plugins import NotificationManager

    return tuple(NotificationManager().schemas())


def _makes(url: str) -> bool:
    import apprise

    logging.getLogger("apprise").propagate = False  # what it would say, we say
    return apprise.Apprise.instantiate(url) is not None


def _how(scheme: str) -> str:
    from apprise.manager_plugins import NotificationManager

    try:
        plugin = NotificationManager()[scheme]
    except KeyError:
        return "look it up in the documentation of Apprise"
    form = str(plugin.templates[0]) if plugin.templates else "{schema}://…"
    return form.replace("{schema}", scheme)
