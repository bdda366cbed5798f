"""`python -m gateway` whose history stores full buffers at once instead of together with others:
for tests that wait for it to write."""

import sys

from gateway.cli import main
from gateway.store import batching

batching.LONGEST = 0.0
sys.exit(main())
