"""What the gateway does about a part that is not well, in words: told with the reason, so that
whoever has only the health topics knows whether anything is left to do for them."""

from gateway.runtime.delivery import Delivery
from gateway.runtime.intake import Intake

CONNECTS = "it connects again by itself"
DISK = "nothing is acknowledged before it is on the disk, which is tried again and again"
WRITES_LATER = "the journal has it; it is written once the disk takes it"
TRIES = "it is tried again by itself"


def of_source(intake: Intake) -> str:
    """Of a source that hears nothing."""
    if intake.stopped:
        return "it waits for a person: correct the configuration, then: berrygate reload"
    return CONNECTS


def of_bad_frames(source: str) -> str:
    """Of what a source sent that nobody can read."""
    return f"they are kept as dead letters; see why: berrygate bridges dead-letters {source}"


def of_bridge(delivery: Delivery) -> str:
    """Of a bridge that does not get through."""
    resume = f"berrygate bridges resume {delivery.name}"
    other = delivery.settings.retry.failover
    if delivery.state == "running" and delivery.pool.unanswered:
        return "nothing waits to be sent; its server is looked at again every 30 s"
    return {
        "paused": f"a person has paused it; its readings are kept; go on: {resume}",
        "stopped": f"its readings are kept; it waits for a person: {resume}",
        "denied": "its readings are kept; it tries again slowly, until a person gives it access",
        "failed over": f"its readings go out through {other}; its own server is tried again",
        "failing": "its readings wait in the journal; it tries again by itself",
    }.get(delivery.state, "it sends what waits, as fast as the other side takes it")
