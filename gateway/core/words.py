"""Numbers as people say them."""

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def about(seconds: float) -> str:
    """`in about 4 h`; below a second `at any moment`."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"in about {round(seconds / size)} {unit}"
    return "at any moment"


def lasting(seconds: float) -> str:
    """`0 s`, `40 s`, `5 min`, `3 h`: a length of time in one unit, two digits at least."""
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds)} s"
