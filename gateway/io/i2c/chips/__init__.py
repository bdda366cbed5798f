"""Chips on an I2C bus, one file each: how they are set up and read, and what their bytes mean."""
