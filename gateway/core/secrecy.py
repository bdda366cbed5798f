"""What no output may show: every password and token of the configuration, by value.

Masking by name is not enough: a server's answer may repeat the token it was sent, a library's
warning may hold the URL with the password. So each secret is noted here as it is read, and what is
said (logs, errors, and through these status, events and dead letters) is looked through for it.
"""

import json
import re
import threading
from collections.abc import Iterable
from urllib.parse import quote, quote_plus, unquote

MASK = "***"
_SHORTEST = 3  # characters; a shorter one would be found in every other word
_WORD = 6  # a shorter one is masked only where it stands alone
_lock = threading.Lock()
_known: set[str] = set()
_pattern: re.Pattern[str] | None = None

_NAMED = re.compile(
    r"""(?ix)
    (?P<keep>
        ://[^\s/:@'"]{0,100}:(?=[^\s/@]{1,200}@)                    # a URL's user and password
      | [?&](?:p|pass|pwd|password|token|access_token|api_?key|key|secret|auth|sig|signature)=
      | \b(?:proxy-)?authorization["']?\s*[:=]\s*["']?(?:(?:basic|bearer|token|digest)\s+)?
      | \b(?:set-)?cookie["']?\s*[:=]\s*["']?
      | \bx-(?:api-key|auth-token|amz-security-token)["']?\s*[:=]\s*["']?
      | \bbearer\s+(?=[\w.~+/-]{8})
    )
    (?P<value>[^\s'"&,;}@]+)
    """
)


def conceal(values: Iterable[str]) -> None:
    """Never show these again. Two characters and fewer cannot be hidden."""
    global _pattern
    forms = {form for value in values for form in _forms(value) if len(form) >= _SHORTEST}
    with _lock:
        if forms <= _known:
            return
        _known.update(forms)
        longest = sorted(_known, key=lambda form: (-len(form), form))
        _pattern = re.compile("|".join(map(_expression, longest)))


def concealed(text: str) -> str:
    """`text` with a mask for each known secret."""
    return _pattern.sub(MASK, text) if _pattern is not None else text


def concealed_line(line: str) -> str:
    """As `concealed`; also what stands where secrets stand: in a URL before the host, in a query
    under a telling name, in a header. For what others wrote, such as a library's warnings."""
    return _NAMED.sub(lambda match: match["keep"] + MASK, concealed(line))


def _forms(value: str) -> Iterable[str]:
    """As it is, and as it looks in a URL, in JSON and in a Python representation."""
    plain = value.strip()
    escaped = json.dumps(plain)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1]
    return (
        plain,
        unquote(plain),
        quote(plain, safe=""),
        quote(plain),
        quote_plus(plain),
        *escaped,
        repr(plain)[1:-1],
    )


def _expression(form: str) -> str:
    escaped = re.escape(form)
    return escaped if len(form) >= _WORD else rf"(?<!\w){escaped}(?!\w)"
