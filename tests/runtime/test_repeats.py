"""What was journalled last is known again, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.runtime.repeats import Repeats

WINDOW = 20
bursts = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3)), max_size=12)


@given(st.lists(st.tuples(bursts, st.booleans()), max_size=30))
def test_frames_of_the_window_are_known_by_id_and_hash(
    steps: list[tuple[list[tuple[int, int]], bool]],
) -> None:
    repeats = Repeats(WINDOW)
    seen: list[tuple[int, int]] = []
    for burst, asked in steps:
        ids, hashes = [i for i, _ in burst], [h for _, h in burst]
        if asked:
            last = dict(seen[-WINDOW:])
            for packet_id in range(1, 31):
                found = [h for h in range(4) if repeats.among([True], [packet_id], [h])[0]]
                if packet_id in last:
                    assert found == [last[packet_id]]
                else:
                    assert found in ([], [dict(seen).get(packet_id)])
        repeats.remember("mqtt", ids, hashes)
        seen += burst


def test_what_is_no_repeat_by_its_own_word_is_none() -> None:
    repeats = Repeats(WINDOW)
    repeats.remember("mqtt", [1, 0, 2], [7, 8, 9])
    assert repeats.among([False, True, True, True], [1, 0, 2, 1], [7, 8, 9, 8]) == [
        False, False, True, False,
    ]  # fmt: skip
    repeats.forget()
    assert repeats.among([True], [2], [9]) == [False]


def test_it_is_bounded() -> None:
    repeats = Repeats(WINDOW)
    for number in range(1_000):
        repeats.remember("mqtt", [number % 65_535 + 1], [number])
        if number == 500:
            assert repeats.among([True], [number], [number - 1]) == [True]
    assert len(repeats._bursts) == WINDOW
    assert repeats._known is None
    keys = repeats.remember("mqtt", [5], [5])
    assert keys is not None
    restored = Repeats(WINDOW, [keys])
    assert restored.among([True], [5], [5]) == [True]
