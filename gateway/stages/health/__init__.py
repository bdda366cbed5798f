"""Health: a level and a score for every part, each with the reasons it lost points for.

A score starts at 100; each reason costs points; the level follows from the score, with some
inertia on the way up. The whole is derived from its parts.
"""

from gateway.stages.health.attempts import HealthStage
from gateway.stages.health.component import Component, Probe
from gateway.stages.health.flow import Flow
from gateway.stages.health.levels import Grade, Hysteresis, Level, level_of
from gateway.stages.health.parts import EVERY, DeviceProbe, Health
from gateway.stages.health.rules import Deduction, Limit, Limits, Rules, Silence, over
from gateway.stages.health.trend import Trend

__all__ = [
    "EVERY",
    "Component",
    "Deduction",
    "DeviceProbe",
    "Flow",
    "Grade",
    "Health",
    "HealthStage",
    "Hysteresis",
    "Level",
    "Limit",
    "Limits",
    "Probe",
    "Rules",
    "Silence",
    "Trend",
    "level_of",
    "over",
]
