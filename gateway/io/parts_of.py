"""Some modules of a package, without what its `__init__` imports besides.

influxdb-client imports a class for each thing its server's API knows: 360 modules, 12 MB and 0.2 s,
of which a write needs three.
"""

import importlib
import importlib.util
import sys
import threading
from collections.abc import Sequence
from types import ModuleType

_LOCK = threading.Lock()


def parts_of(packages: Sequence[str], modules: Sequence[str]) -> list[ModuleType]:
    """These modules. packages: the one that they are of, first, and those below it whose `__init__`
    is not to be run either. Afterwards `import` knows nothing of them: whoever imports the package
    gets all of it. Raises ImportError, AttributeError where it is built otherwise."""
    top = packages[0]
    with _LOCK:
        if top in sys.modules:
            return [importlib.import_module(name) for name in modules]
        try:
            for package in packages:
                sys.modules[package] = _bare(package)
            return [importlib.import_module(name) for name in modules]
        finally:
            for name in [each for each in sys.modules if each == top or each.startswith(f"{top}.")]:
                del sys.modules[name]


def _bare(package: str) -> ModuleType:
    """A package in which nothing has been run."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return importlib.util.module_from_spec(spec)
