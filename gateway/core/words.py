"""Numbers as people say them."""

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def about(seconds: float) -> str:
    """`in about 4 h`; below a second `at any moment`."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"in about {round(seconds / size)} {unit}"
    return "at any moment"
