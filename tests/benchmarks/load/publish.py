"""A publisher that costs little: `publish.py PORT --count N --rate R --devices D`.

Every message carries a number (seq), when it was sent (sent, s) and one more value.
"""

import argparse
import time

from tests.support.publisher import Publisher


def stamped(number: int) -> bytes:
    """Three values, one of them the time."""
    return b'{"seq": %d, "sent": %.4f, "humidity": %.1f}' % (number, time.time(), number % 37)


class Counting(Publisher):
    """Remembers how many were acknowledged, not which: of 24 million that is 5 GB."""

    count = 0

    def answered(self, number: int) -> None:
        """See Publisher."""
        self.count += 1


def main() -> None:
    """Publish, and fail if the broker did not acknowledge everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--devices", type=int, default=100)
    args = parser.parse_args()
    publisher = Counting(args.port, args.devices, stamped)
    publisher.run(0, args.count, args.rate)
    publisher.close()
    assert publisher.count == args.count


if __name__ == "__main__":
    main()
