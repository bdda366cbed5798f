"""Berrygate: a durable log with drivers on both sides."""

__version__ = "0.1.0"
