"""Importing a driver, and building one: both must be cheap and do nothing yet. A configuration is
checked, and built on trial before a reload, without anything being opened."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from gateway.testing import acts
from gateway.testing.traces import Traces
from gateway.testing.verdict import unfit

_SHARE = 1.5  # of what the house's own contracts and settings cost to import; ours are below 0.4
_MAY = ("core", "codecs", "io")
_LATER = "do it in listen() or connect()"
_CODE = """
import importlib, importlib.util, json, sys, threading, time

spec = importlib.util.spec_from_file_location("acts", sys.argv[2])
watch = importlib.util.module_from_spec(spec)
spec.loader.exec_module(watch)

def cost(*names):
    began = time.thread_time()
    for name in names:
        importlib.import_module(name)
    return time.thread_time() - began

own = cost("gateway.core.contracts", "gateway.core.settings")
before = set(sys.modules)
with watch.acts() as done:
    driver = cost(sys.argv[1])
print(json.dumps({
    "own": own, "driver": driver, "done": done, "new": sorted(set(sys.modules) - before),
    "threads": [each.name for each in threading.enumerate()][1:],
}))
"""


async def check_import(module: str) -> None:
    """Raises Unfit if importing the module does more than define things."""
    found = json.loads(await asyncio.to_thread(_python, _CODE, module, acts.__file__))
    if found["done"] or found["threads"]:
        done = ", ".join([*found["done"], *(f"thread {each}" for each in found["threads"])])
        unfit(f"importing {module} does something: {done}", _LATER)
    for name in found["new"]:
        room, _, rest = name.partition(".")
        strange = room == "gateway" and rest and rest.partition(".")[0] not in _MAY
        if strange or (room in ("devices", "bridges") and rest and name != module):
            fix = "import only gateway.core, gateway.codecs and gateway.io"
            unfit(f"{module} imports {name}, which may change at any time", fix)
    if found["driver"] > _SHARE * found["own"]:
        times = found["driver"] / found["own"]
        unfit(
            f"importing {module} takes {times:.1f} times as long as all that the gateway has for"
            " drivers",
            "import large libraries in the function that needs them",
        )


def check_building(build: Callable[[], Any]) -> Any:
    """What `build` gives. Raises Unfit if building opens, starts or waits for something."""
    before = Traces.now()
    with acts.acts() as done:
        built = build()
    if made := [*done, *Traces.now().since(before)]:
        unfit(f"build() does something: {', '.join(made)}", _LATER)
    return built


def _python(code: str, *arguments: str) -> str:
    path = os.pathsep.join(each for each in sys.path if each)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        unfit(f"it cannot be imported: {done.stderr[-2000:]}", "see above")
    return done.stdout
