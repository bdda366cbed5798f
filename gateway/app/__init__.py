"""The only place that wires: config -> objects -> running parts, and back down in order."""

import asyncio
import logging
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from gateway.app.opening import only_one, opened
from gateway.app.parts import Parts
from gateway.app.reloading import Reloader
from gateway.app.wiring import Wiring
from gateway.config import Config
from gateway.config.trial import Trial
from gateway.core.collector import keep
from gateway.core.profiling import report_to
from gateway.runtime.allocator import keep_less
from gateway.runtime.notify import notify
from gateway.stages.profiling import LoopWatch, WatchedSelector

log = logging.getLogger(__name__)


def run(config: Config, file: Path | None = None) -> int:
    """Run the gateway until it is told to stop; the exit code. file: where `config` was read, to
    be read again on a reload. Raises ConfigError."""
    keep_less()
    if not config.profiling.enabled:
        return asyncio.run(_main(config, file))
    selector = WatchedSelector(config.profiling.slow_callback)

    async def watched() -> int:
        with LoopWatch(selector) as watch:
            return await _main(config, file, watch)

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        return runner.run(watched())


async def _main(config: Config, file: Path | None, watch: LoopWatch | None = None) -> int:
    directory = config.gateway.data_dir
    with only_one(directory):
        trial = Trial(directory / "config")
        config = trial.instead_of(config, file)
        parts = Parts()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, parts.stop.set)
        async with AsyncExitStack() as stack:
            house = await opened(config, directory, stack)
            house.profiler.loop = watch
            report_to(house.profiler.observe)
            stack.callback(report_to, None)
            wiring = Wiring(config, house, parts)
            reloader = Reloader(wiring, file, trial)
            house.reloading = reloader
            # A terminal that is closed means stop; without one it has its other old meaning.
            hang_up = parts.stop.set if os.isatty(0) else reloader.by_signal
            loop.add_signal_handler(signal.SIGHUP, hang_up)
            try:
                await wiring.start()
                keep()
                parts.start("reload", reloader.run())
                await parts.stop.wait()
                notify("STOPPING=1")
                log.info("stopping")
            finally:
                await wiring.stop()
    if parts.failure is not None:
        raise parts.failure
    return 0
