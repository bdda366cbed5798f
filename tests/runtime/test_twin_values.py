"""What the value of a key of a device's state may be: what can be told as JSON again, no more."""

import json
from collections.abc import Iterator

import msgspec
import pytest

from gateway.runtime.twinning import DEEPEST, LARGEST, Twinning
from gateway.store.twins import Twins
from tests.support.small_house import SmallHouse
from tests.support.small_managing import manage

DEEP = b"[" * DEEPEST + b"]" * DEEPEST
GOOD = (b"null", b"21.5", b'"\\ud83c\\udf21"', b'{"a": [1, {"b": true}]}', DEEP)
BAD = {
    "half a character": b'"\\ud800"',
    "half a character in a key": b'{"\\ud800": 1}',
    "no number": b"NaN",
    "no end": b"[-Infinity]",
    "too large a number": b"1e999",
    "too deep": b"[" + DEEP + b"]",
    "much too deep": b"[" * 1_900 + b"]" * 1_900,
    "too long": b'"' + b"x" * LARGEST + b'"',
}


@pytest.fixture
def twinning() -> Iterator[Twinning]:
    house = SmallHouse()
    manage(house)
    assert house.twinning is not None
    yield house.twinning
    assert house.managing is not None
    house.managing.devices.database.close()


@pytest.mark.parametrize("payload", BAD.values(), ids=BAD)
async def test_what_cannot_be_told_again_is_refused(twinning: Twinning, payload: bytes) -> None:
    twinning.heard("soil-4", "k", payload)
    twinning.heard("soil-4", "k", b'{"value": %b, "version": 1}' % payload)
    assert twinning.refused == 2
    try:
        value = json.loads(payload)
    except RecursionError:
        return  # whoever reads it for us says so
    with pytest.raises(ValueError, match="the value"):
        await twinning.desire("soil-4", "k", value)
    found = twinning.state("soil-4")
    assert (found["desired"], found["reported"]) == ({}, {})


async def test_what_can_be_told_again_is_taken(twinning: Twinning) -> None:
    for number, payload in enumerate(GOOD):
        twinning.heard("soil-4", f"k{number}", payload)
        await twinning.desire("soil-4", f"k{number}", json.loads(payload))
    found = twinning.state("soil-4")
    assert found["differing"] == []
    assert msgspec.json.decode(msgspec.json.encode(found)) == found
    assert len(found["reported"]) == len(GOOD)


async def test_what_an_earlier_release_kept_all_the_same_is_left_out(twinning: Twinning) -> None:
    database = twinning._store.database
    row = ("soil-4", "reported", "k", '"\\ud800"', 1, 0, 1)
    statement = "INSERT INTO twin VALUES (?, ?, ?, ?, ?, ?, ?)"
    await database.write(lambda c: c.execute(statement, row))
    assert Twins(database).entries == {}
