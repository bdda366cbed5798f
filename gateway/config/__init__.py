"""The configuration: find it, load it, say what is wrong with it."""

from gateway.config.load import find, load, loads
from gateway.config.models import Config
from gateway.config.problems import InvalidConfig, Problem, render
from gateway.config.schema import schema

__all__ = ["Config", "InvalidConfig", "Problem", "find", "load", "loads", "render", "schema"]
