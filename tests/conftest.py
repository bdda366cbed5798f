"""What all tests need of the process that runs them."""

import signal

# Started in the background by a shell, it would ignore SIGINT, and so would what the tests start:
# those that interrupt a command would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
