"""The pins of this machine, by gpiozero; and what keeps us from them, in words."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import gpiozero
from gpiozero.exc import BadPinFactory, GPIOZeroError, PinUnknownPi

from gateway.core.errors import BerrygateError, ConfigError, Denied, Unavailable
from gateway.io import raspberry

_ROOT = Path("/")
_CHIPS = Path("/dev")
_MOCK = "GPIOZERO_PIN_FACTORY=mock"
_LGPIO = "pip install lgpio (Python 3.13: first apt-get install swig liblgpio-dev python3-dev)"


@cache
def pin_factory(directory: Path) -> Any:
    """gpiozero's factory of pins, one for the process: lgpio, or what GPIOZERO_PIN_FACTORY says.
    directory: where lgpio may keep its pipe. Raises ConfigError, Unavailable or Denied."""
    named = os.environ.get("GPIOZERO_PIN_FACTORY", "lgpio")
    try:
        return steady(_lgpio(directory) if named == "lgpio" else _other())
    except PinUnknownPi as error:
        fix = f"run it on a Raspberry Pi; to try a configuration elsewhere: {_MOCK} berrygate run"
        raise ConfigError(
            "this machine is no Raspberry Pi: it has no GPIO pins", fix=fix
        ) from error
    except BadPinFactory as error:
        fix = "unset GPIOZERO_PIN_FACTORY, or set it to lgpio"
        raise ConfigError(f"no pin factory {named}", fix=fix) from error
    except ImportError as error:
        if named == "lgpio" and "Raspberry" not in (raspberry.model(_ROOT) or ""):
            raise _no_pi() from error  # what would it be installed for
        fix = _LGPIO if named == "lgpio" else f"install {error.name}"
        message = f"the pins of this machine need the Python module {error.name or named}"
        raise ConfigError(message, fix=fix) from error
    except pin_errors() as error:
        raise _no_chip(error) from error


def _no_pi() -> ConfigError:
    fix = f"run it on a Raspberry Pi; to try a configuration elsewhere: {_MOCK} berrygate run"
    return ConfigError("this machine is no Raspberry Pi: it has no GPIO pins", fix=fix)


def _lgpio(directory: Path) -> Any:
    with _own_folder(directory):
        from gpiozero.pins.lgpio import LGPIOFactory
    return LGPIOFactory()


def _other() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gpiozero.Device.ensure_pin_factory()
    # Taken from there: gpiozero closes its own when the program ends, and outputs that are to stay
    # as they are would fall.
    factory, gpiozero.Device.pin_factory = gpiozero.Device.pin_factory, None
    return factory


def steady(factory: Any) -> Any:
    """The factory, whose pins bear a change that is under way when they are closed. gpiozero's
    stumble over it, and with lgpio that ends the thread that all pins are heard by."""

    class SteadyPin(factory.pin_class):  # type: ignore[misc]
        def _call_when_changed(self, *args: Any) -> None:
            try:
                super()._call_when_changed(*args)
            except TypeError:
                if self._when_changed is not None:
                    raise

    factory.pin_class = SteadyPin
    return factory


@contextmanager
def _own_folder(directory: Path) -> Iterator[None]:
    """lgpio makes a pipe in the working directory, which may be /, or goes to the one it is told
    and takes the whole process along: back again, for paths may be relative."""
    before = Path.cwd()
    directory.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("LG_WD", str(directory.absolute()))
    try:
        yield
    finally:
        os.chdir(before)


def pin_errors() -> tuple[type[Exception], ...]:
    """What pins raise."""
    found: list[type[Exception]] = [GPIOZeroError, OSError]
    if (lgpio := sys.modules.get("lgpio")) is not None:
        found.append(lgpio.error)
    return tuple(found)


def explained(number: int, error: Exception) -> BerrygateError:
    """Why a pin cannot be had."""
    text = str(getattr(error, "value", "") or error or type(error).__name__)
    name = f"GPIO{number}"
    if "busy" in text.lower():
        fix = "see by whom with gpioinfo (apt-get install gpiod), or choose another pin"
        return Unavailable(f"{name} is in use by another program or by the kernel", fix=fix)
    if "PWM" in type(error).__name__:
        return Unavailable(f"{name} cannot give pulses here: {text}", fix="use the lgpio factory")
    return Unavailable(f"{name} cannot be used: {text}", fix="choose another pin")


def _no_chip(error: Exception) -> BerrygateError:
    chips = sorted(_CHIPS.glob("gpiochip*"))
    text = str(getattr(error, "value", "") or error)
    if not chips:
        return Unavailable("there is no /dev/gpiochip0", fix="enable GPIO in the kernel")
    if not os.access(chips[0], os.R_OK | os.W_OK):
        fix = "sudo usermod -aG gpio USER for the gateway's user, then restart the gateway"
        return Denied(f"we may not use {chips[0]}", fix=fix)
    return Unavailable(f"the pins cannot be had: {text}", fix="see `gpioinfo`")
