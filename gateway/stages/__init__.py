"""The chain around every bridge: profiling, retry, health, pool; each a stage, composed here."""

from collections.abc import Sequence
from functools import partial, reduce

from gateway.core.contracts import Send, Stage

__all__ = ["compose"]


def compose(stages: Sequence[Stage], send: Send) -> Send:
    """`send` with `stages` around it; the first one is outermost."""

    def around(inner: Send, stage: Stage) -> Send:
        return partial(stage, send=inner)

    return reduce(around, reversed(stages), send)
