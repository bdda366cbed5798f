"""Profiling: how long each stage takes, how often, which one limits, and why."""

from gateway.core.profiling_settings import ProfilingSettings
from gateway.stages.profiling.bottleneck import Cause, Detector, Limit, Look, Span
from gateway.stages.profiling.loop import LoopWatch, Schedule, WatchedSelector
from gateway.stages.profiling.profiler import RECEIVE, Profiler
from gateway.stages.profiling.stage import ProfilingStage
from gateway.stages.profiling.windows import WINDOWS

__all__ = [
    "RECEIVE",
    "WINDOWS",
    "Cause",
    "Detector",
    "Limit",
    "Look",
    "LoopWatch",
    "Profiler",
    "ProfilingSettings",
    "ProfilingStage",
    "Schedule",
    "Span",
    "WatchedSelector",
]
