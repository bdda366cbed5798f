"""When the canary is sent, missed, and given up, by a clock of the test's own."""

from gateway.io.mqtt.canary import Canary


class Case:
    """A canary every 30 s, looked at every second."""

    def __init__(self, every: float = 30.0) -> None:
        self.now = 0.0
        self.seen = 0
        self.held = False
        self.covered = True
        self.canary = Canary(every, lambda: self.now)
        self.canary.connected()

    def run(self, seconds: int, answer: bool) -> list[str]:
        """What is done meanwhile; `answer`: each canary comes back."""
        done = []
        for _ in range(seconds):
            self.now += 1
            action = self.canary.due(self.seen, self.held, self.covered)
            if action:
                done.append(action)
            if answer and action in ("again", "send"):
                self.canary.heard()
        return done


def test_a_quiet_subscription_is_asked_every_interval_and_is_well() -> None:
    case = Case()
    assert case.run(300, answer=True) == ["send"] * 10
    assert (case.canary.deaf, case.canary.watch) == (False, "canary")


def test_a_deaf_one_is_noticed_within_90_s_and_connected_anew_but_not_for_ever() -> None:
    case = Case()
    case.run(40, answer=True)
    case.run(60, answer=False)
    assert case.canary.deaf
    done = case.run(3_600, answer=False)
    assert done[0] == "again" or done[1] == "again"
    assert 3 <= done.count("reconnect") <= 8
    assert case.canary.heard()
    assert not case.canary.deaf
    assert case.run(1, answer=True) == ["reconnect"]  # what was sent to deaf ears comes again
    case.canary.connected()
    assert case.run(29, answer=True) == []


def test_none_is_sent_where_messages_tell_as_much() -> None:
    case = Case()
    for _ in range(10):
        case.seen += 1
        assert case.run(30, answer=True) == []
    case.covered = False  # one of several filters may be deaf while another is not
    case.seen += 1
    assert case.run(31, answer=True) == ["send"]


def test_messages_that_come_meanwhile_are_as_good() -> None:
    case = Case()
    case.run(30, answer=True)
    for _ in range(300):
        case.seen += 1
        case.run(1, answer=False)
    assert not case.canary.deaf


def test_what_we_hold_back_ourselves_is_no_deafness() -> None:
    """The disk refuses: the broker has sent all it may, and the canary stands behind that."""
    case = Case()
    case.run(31, answer=True)
    case.held = True
    case.run(600, answer=False)
    assert not case.canary.deaf


def test_one_that_never_came_back_was_never_allowed_to() -> None:
    case = Case()
    case.run(300, answer=False)
    assert (case.canary.deaf, case.canary.watch) == (False, "subscribing again")
    case.canary.heard()
    assert case.canary.watch == "canary"


def test_where_it_is_forbidden_only_subscriptions_are_renewed() -> None:
    case = Case()
    case.run(31, answer=False)
    case.canary.refused("Not authorized")
    assert case.run(120, answer=False) == ["subscribe"] * 4
    assert case.canary.watch == "subscribing again"


def test_a_broker_that_hangs_up_over_it_is_not_asked_twice() -> None:
    case = Case()
    case.run(31, answer=False)
    case.canary.lost()
    case.canary.connected()
    assert "send" not in case.run(300, answer=False)


def test_an_outage_after_it_once_came_back_forbids_nothing() -> None:
    case = Case()
    case.run(61, answer=True)
    case.run(30, answer=False)
    case.canary.lost()
    case.canary.connected()
    assert "send" in case.run(60, answer=True)


def test_off_is_off() -> None:
    case = Case(0.0)
    assert case.run(300, answer=True) == []
    assert case.canary.watch == "off"
