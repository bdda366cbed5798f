"""When Python's collector of cyclic garbage looks at what.

What a start makes lives as long as we do. Looked through while it grows, it took a tenth of the
start; looked through again each time that readings pile up for a moment, it held everything up for
50 ms and cost a tenth of the CPU.
"""

import gc

_YOUNG = 10_000  # objects that may come before the collector looks at them


def rest() -> None:
    """Let it look at nothing for now: much is about to be made, to stay."""
    gc.disable()


def keep() -> None:
    """Have it look at what is made from now on, and never at what there is."""
    gc.freeze()
    gc.set_threshold(_YOUNG)
    gc.enable()
