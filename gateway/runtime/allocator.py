"""The C library's allocator, told to keep less for itself.

glibc takes what is as large as anything that was freed before from one heap, and gives each thread
a heap of its own. What is written for a moment (a batch, a chunk, a body) then lies between what
stays (history's open buffers), and its place is never given back: 6 MB with 1,000 devices.
"""

import ctypes

_SETTINGS = {
    -3: 64 * 1024,  # M_MMAP_THRESHOLD: what is larger has pages of its own, and gives them back
    -1: 128 * 1024,  # M_TRIM_THRESHOLD: as much may be free at a heap's end
    -8: 1,  # M_ARENA_MAX: heaps; nearly all of our threads wait for the interpreter anyway
}


def keep_less() -> bool:
    """See the module; before threads are started. False where the C library has no such settings:
    it has others then, or needs none."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(name, value) == 1 for name, value in _SETTINGS.items())
