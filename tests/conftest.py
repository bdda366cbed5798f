"""What all tests need of the process that runs them."""

import signal

import pytest

from gateway.core import secrecy

# Started in the background by a shell, it would ignore SIGINT, and so would what the tests start:
# those that interrupt a command would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _nobody_elses_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test calls a secret is never shown again: another's messages would have gaps."""
    monkeypatch.setattr(secrecy, "_known", set(secrecy._known))
    monkeypatch.setattr(secrecy, "_pattern", secrecy._pattern)
