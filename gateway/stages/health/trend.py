"""Where something is going: a straight line through the last few minutes."""

from collections import deque

_MOST = 60  # samples in a window
_POINTS = 3.0  # a change of less than this over the window is none
_SURE = 4.0  # how many standard errors a slope must be away from 0 before it is believed


class Trend:
    """Samples of one value over a window (s), and the line through them by least squares. At most
    60: those that come faster than that replace each other. `sure`: whether the slope is more than
    chance (four standard errors, as in any textbook's test of a regression slope)."""

    __slots__ = ("_samples", "window")

    def __init__(self, window: float) -> None:
        self.window = window
        self._samples: deque[tuple[float, float]] = deque()

    def add(self, now: float, value: float) -> None:
        """The value is this now (s, monotonic)."""
        samples = self._samples
        while samples and now - samples[0][0] > self.window:
            samples.popleft()
        if len(samples) > 1 and now - samples[-2][0] < self.window / _MOST:
            samples.pop()
        samples.append((now, value))

    @property
    def flat(self) -> bool:
        """Whether all of the window has one value."""
        return len({value for _, value in self._samples}) < 2

    @property
    def span(self) -> float:
        """How long is looked back (s)."""
        return self._samples[-1][0] - self._samples[0][0] if self._samples else 0.0

    @property
    def word(self) -> str:
        """rising, falling or steady, of a score."""
        change = self.line()[0] * self.span
        return "steady" if abs(change) < _POINTS else "rising" if change > 0 else "falling"

    def line(self) -> tuple[float, bool]:
        """The slope (a second), and whether it is sure."""
        count, span = len(self._samples), self.span
        if count < 2 or span <= 0:
            return 0.0, False
        begin = self._samples[0][0]
        times = [time - begin for time, _ in self._samples]
        values = [value for _, value in self._samples]
        middle, mean = sum(times) / count, sum(values) / count
        spread = sum((time - middle) ** 2 for time in times)
        both = sum(
            (time - middle) * (value - mean) for time, value in zip(times, values, strict=True)
        )
        slope = both / spread
        if count < 3:
            return slope, False
        rest = sum(
            (value - mean - slope * (time - middle)) ** 2
            for time, value in zip(times, values, strict=True)
        )
        error = (rest / (count - 2) / spread) ** 0.5
        return slope, abs(slope) > _SURE * error

    def reaches(self, limit: float) -> float | None:
        """Seconds until the line comes to `limit`; None where it does not go there for sure."""
        slope, sure = self.line()
        if not sure or not slope:
            return None
        left = (limit - self._samples[-1][1]) / slope
        return left if left >= 0 else None
