"""What flows is judged by what usually does."""

from gateway.stages.health import Flow


def run(flow: Flow, rates: list[float], begin: float = 0.0, counter: float = 0.0) -> float:
    for second, rate in enumerate(rates):
        counter += rate
        flow.look(int(counter), begin + second)
    return counter


def test_less_than_usual_is_seen_once_it_is_known_what_is_usual() -> None:
    flow = Flow()
    counter = run(flow, [100.0] * 300)
    run(flow, [0.0] * 60, 300, counter)
    assert flow.share == 100.0  # too early to say
    flow = Flow()
    counter = run(flow, [100.0] * 1200)
    assert flow.share == 100.0
    counter = run(flow, [20.0] * 120, 1200, counter)
    assert 15 < flow.share < 50
    run(flow, [100.0] * 300, 1320, counter)
    assert flow.share == 100.0


def test_what_comes_in_bursts_may_do_so() -> None:
    flow = Flow()
    bursts = ([200.0] * 30 + [0.0] * 570) * 6
    counter, low = 0.0, 100.0
    for second, rate in enumerate(bursts):
        counter += rate
        flow.look(int(counter), second)
        low = min(low, flow.share)
    assert low == 100.0


def test_a_counter_that_begins_anew_is_no_flow() -> None:
    flow = Flow()
    run(flow, [10.0] * 1200)
    flow.look(0, 1201)
    flow.look(10, 1202)
    assert flow.share == 100.0
