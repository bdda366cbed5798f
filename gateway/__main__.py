"""`python -m gateway`: the same as `berrygate`."""

import sys

from gateway.cli import main

sys.exit(main())
