"""The pages keep up with the program."""

import argparse
import re
from pathlib import Path

from gateway.cli.main import parser

DOCS = Path(__file__).parents[2] / "docs"


def test_every_command_and_option_has_its_place() -> None:
    page = (DOCS / "cli.md").read_text()
    commands = next(
        action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    described = set(re.findall(r"^berrygate (\w+)", page, re.MULTILINE))
    assert described == set(commands.choices)
    for name, command in commands.choices.items():
        for action in command._actions:
            for option in action.option_strings:
                known = option in ("-h", "--verbose", "--config") or option in page
                assert known, f"{name} {option}"
