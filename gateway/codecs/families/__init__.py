"""Families of devices that are recognised by their topics and payloads, so that nobody has to list
their keys: one module each. Names, models, units, device classes, presence and command topics come
with the readings."""

from gateway.codecs.families.codec import FamiliesCodec, filters
from gateway.codecs.families.discovery import Discovery

__all__ = ["Discovery", "FamiliesCodec", "filters"]
