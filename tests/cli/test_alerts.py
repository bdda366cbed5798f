"""`berrygate alerts`."""

import json
from collections.abc import Callable

import pytest

from tests.support.command import Command
from tests.support.small_house import SmallHouse

Berrygate = Callable[..., Command]
pytestmark = pytest.mark.usefixtures("up")


def test_list(berrygate: Berrygate, house: SmallHouse) -> None:
    shown = berrygate("alerts")
    assert shown.code == 1  # critical, and nobody takes care of it
    assert "battery-low" in shown.out
    assert "\x1b[2J" not in shown.out
    assert json.loads(berrygate("alerts", "list", "--json").out)[0]["id"] == 7
    assert "no resolved alerts" in berrygate("alerts", "list", "--state", "resolved").out
    assert berrygate("alerts", "ack", "7").code == 0
    shown = berrygate("alerts")
    assert (shown.code, "acknowledged by" in shown.out) == (0, True)
    assert berrygate("alerts", "ack", "9").code == 1


def test_silences(berrygate: Berrygate, house: SmallHouse) -> None:
    assert "no silences" in berrygate("alerts", "silences").out
    asked = ("alerts", "silence", "soil-4", "--for", "2h", "--comment", "new battery")
    assert "silence 1 until" in berrygate(*asked).out
    shown = berrygate("alerts", "silences").out
    assert "soil-4" in shown
    assert "new battery" in shown
    assert "has ended" in berrygate("alerts", "silence", "--end", "1").out
    assert berrygate("alerts", "silence", "--end", "1").code == 1
    everything = berrygate("alerts", "silence")
    assert (everything.code, "say of which" in everything.err) == (2, True)


def test_channels(berrygate: Berrygate, house: SmallHouse) -> None:
    shown = berrygate("alerts", "channels")
    assert (shown.code, "no route" in shown.out) == (1, True)
    assert "took it in 0.2 s" in berrygate("alerts", "test", "phone").out
    assert "no answer within" in berrygate("alerts", "test", "pager").err
    unknown = berrygate("alerts", "test", "fone")
    assert (unknown.code, "there are phone" in unknown.err) == (1, True)


def test_status_tells_of_them(berrygate: Berrygate) -> None:
    assert "1 active: 1 critical; see berrygate alerts" in berrygate("status").out
