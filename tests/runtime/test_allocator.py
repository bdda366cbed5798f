"""What is freed is given back to the system."""

import subprocess
import sys

import pytest

_MOMENT = """
import sys
from gateway.runtime.allocator import keep_less
if sys.argv[1] == "less":
    assert keep_less()
import psutil
me = psutil.Process()
kept = [bytes(200_000)]  # once freed, glibc takes what is as large from the heap
del kept[0]
before = me.memory_info().rss
moments = []
for number in range(300):
    moments.append(bytearray(b"x" * 100_000))
    kept.append(bytearray(b"y" * 900))  # stays, between them
del moments
print(me.memory_info().rss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_a_moment_leaves_no_holes() -> None:
    left = [
        int(subprocess.run(
            [sys.executable, "-c", _MOMENT, how], check=True, capture_output=True, text=True
        ).stdout)
        for how in ("less", "as it is")
    ]  # fmt: skip
    assert left[0] < left[1] / 4
