"""`python -m gateway` whose history lets full buffers wait for HISTORY_LONGEST seconds (0: not at
all): for tests that wait for it to write."""

import os
import sys

from gateway.cli import main
from gateway.store import batching

batching.LONGEST = float(os.environ.get("HISTORY_LONGEST", "0"))
sys.exit(main())
