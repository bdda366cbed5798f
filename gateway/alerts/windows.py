"""Times of day and stretches of time, in somebody's time zone, whatever its clocks do."""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from gateway.config.alerting import WindowSettings

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Window:
    """One that is configured."""

    def __init__(self, settings: WindowSettings) -> None:
        # None: this machine's zone, which datetime knows of times that have none.
        self._zone = ZoneInfo(settings.timezone) if settings.timezone else None
        self._days = frozenset(_DAYS.index(day) for day in settings.days)
        self._at = -1
        self._found: float | None = None
        self._daily: tuple[time, time] | None = None
        if len(settings.start) == 5:
            both = (time.fromisoformat(settings.start), time.fromisoformat(settings.end))
            self._daily = both
        else:
            self._once = (self._moment(settings.start), self._moment(settings.end))

    def until(self, now: float) -> float | None:
        """When the window that is open at `now` ends (s since the epoch); None: it is closed.
        Worked out once a second, for it is asked for each alert.

        Both ends are worked out as moments, so a night in which clocks change is an hour shorter
        or longer and begins and ends when the clock on the wall says so.
        """
        if int(now) != self._at:
            self._at, self._found = int(now), self._until(now)
        return self._found

    def _until(self, now: float) -> float | None:
        if self._daily is None:
            start, end = self._once
            return end if start <= now < end else None
        today = datetime.fromtimestamp(now, self._zone).date()
        for day in (today, today - timedelta(days=1)):
            if self._days and day.weekday() not in self._days:
                continue
            start, end = self._on(day, self._daily)
            if start <= now < end:
                return end
        return None

    def _on(self, day: date, daily: tuple[time, time]) -> tuple[float, float]:
        first, last = daily
        following = day + timedelta(days=1) if last <= first else day
        start = datetime.combine(day, first, self._zone).timestamp()
        return start, datetime.combine(following, last, self._zone).timestamp()

    def _moment(self, text: str) -> float:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=self._zone)).timestamp()
