"""`berrygate demo`: something to look at, without owning a single sensor."""

import sys
from argparse import Namespace, _SubParsersAction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.cli.common import Exit, colored, options, print_json

if TYPE_CHECKING:
    from gateway.demo.run import Scene


def add(commands: "_SubParsersAction[Any]") -> None:
    """Add the command."""
    showing = commands.add_parser(
        "demo",
        parents=[options()],
        help="a gateway with a dozen simulated devices; Ctrl-C ends it, nothing is left behind",
        description="Run a gateway of its own with simulated devices that really speak MQTT, CoAP "
        "and serial lines. A running gateway is not touched. Your configuration is not read.",
    )
    showing.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="where its data is to stay; default: a directory that is gone afterwards",
    )
    showing.set_defaults(do=demo)


def demo(args: Namespace) -> int:
    """Run until Ctrl-C."""
    from gateway.demo.run import run

    kept = args.data_dir is not None
    run(args.data_dir, _as_json if args.json else lambda scene: _show(scene, kept))
    if not args.json:
        print("\nstopped" + ("" if kept else "; nothing is left behind"))
    return Exit.OK


def _as_json(scene: "Scene") -> None:
    print_json(
        {
            "config": str(scene.config),
            "dashboard": f"http://127.0.0.1:{scene.http}",
            "broker": f"mqtt://127.0.0.1:{scene.broker}",
            "devices": scene.devices,
            "hints": scene.hints,
            "missing": scene.missing,
        }
    )
    sys.stdout.flush()  # whoever reads it from a pipe waits for this


def _show(scene: "Scene", kept: bool) -> None:
    done = colored("✓", "GOOD")
    print(
        f"{done} broker 127.0.0.1:{scene.broker} (built in)   "
        f"{done} {len(scene.devices)} simulated devices   {done} this machine"
    )
    for module in scene.missing:
        print(f"  without the devices that need the Python module {module}")
    print(f"Dashboard  {colored(f'http://127.0.0.1:{scene.http}', 'bold')}")
    print(f"\nIn another terminal:  export BERRYGATE_CONFIG={scene.config}")
    for command, what in (
        ("berrygate status", "health, and what came of each message"),
        ("berrygate top", "everything that moves"),
        ("berrygate devices", "who there is, and who is silent"),
        ("berrygate tail 'greenhouse-*'", "readings as they come"),
        ("berrygate query tank level", "history"),
        (f"mosquitto_sub -p {scene.broker} -v -t 'berrygate/#'", "what the gateway says itself"),
    ):
        print(f"  {command:45}{what}")
    print("\nWatch:")
    for name, hint in scene.hints.items():
        print(f"  {name:10} {hint}")
    end = "its data stays" if kept else "nothing is left behind"
    print(
        f"\nA day takes 24 minutes. First message after {scene.first:.1f} s. Ctrl-C stops; {end}."
    )
    sys.stdout.flush()  # whoever reads it from a pipe waits for this
