# PYTHON_ARGCOMPLETE_OK
"""The command line, `berrygate`. Results go to stdout, everything else to stderr.

Exit codes: 0 ok, 1 unhealthy or failed, 2 usage or configuration, 3 cannot connect.
"""

from gateway.cli.main import main

__all__ = ["main"]
