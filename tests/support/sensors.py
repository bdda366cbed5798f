"""`python -m gateway` on a machine with chips on an I2C bus and thermometers on 1-Wire.

I2C_BUS: the bus's file, see tests.support.i2c_chips; ONEWIRE_ROOT: see tests.support.thermometers.
"""

import os
import sys
from pathlib import Path

import smbus2.smbus2

from devices.onewire import OneWireDevice, OneWireSettings
from gateway.cli import main
from tests.support.i2c_chips import EXAMPLE, HUMID, Bme280, Ina219, Sht3x, trimming
from tests.support.i2c_wires import Wires

wires = Wires()
if path := os.environ.get("I2C_BUS"):
    chips = {
        0x76: Bme280(trimming(EXAMPLE, HUMID)),
        0x44: Sht3x(),
        0x40: Ina219(0.1, 1.5, 12.0),
    }
    wires.bus(Path(path), chips)
    smbus2.smbus2.ioctl = wires.ioctl  # type: ignore[attr-defined]
if root := os.environ.get("ONEWIRE_ROOT"):
    there = Path(root)
    OneWireSettings.build = lambda self, name, context: OneWireDevice(  # type: ignore[method-assign]
        name, self, context, there
    )
if __name__ == "__main__":
    sys.exit(main())
