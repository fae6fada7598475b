"""Closures of the exchange, computed from its announced schedule."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from markets.intervals import Interval, intersect, merge, subtract
from markets.kalshi.replies import ExchangeSchedule, TradingSession, TradingWeek

NEW_YORK = ZoneInfo("America/New_York")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAY = timedelta(days=1)


def closures(schedule: ExchangeSchedule, *, start: datetime, days: int) -> list[Interval]:
    """Return the intervals without trading in the `days` from `start` on, oldest first, in UTC.

    Time outside the weeks of the schedule is unknown and left out.
    """
    window = Interval(start.astimezone(UTC), start.astimezone(UTC) + days * DAY)
    covered, trading = [], []
    for week in schedule.standard_hours:
        valid = _utc(week.start_time or window.start, week.end_time or window.end)
        for part in intersect([valid], [window]):
            covered.append(part)
            trading += intersect(merge(_sessions(week, part)), [part])
    closed = subtract(merge(covered), merge(trading))
    maintenance = merge(
        _utc(each.start_datetime, each.end_datetime)
        for each in schedule.maintenance_windows
        if each.start_datetime and each.end_datetime
    )
    return merge([*closed, *intersect(maintenance, [window])])


def _utc(start: datetime, end: datetime) -> Interval:
    return Interval(start.astimezone(UTC), end.astimezone(UTC))


def _sessions(week: TradingWeek, within: Interval) -> Iterator[Interval]:
    day, last = (at.astimezone(NEW_YORK).date() for at in within)
    day -= DAY  # The previous day's session may last past midnight.
    while day <= last:
        for session in getattr(week, WEEKDAYS[day.weekday()]):
            yield _session(session, day)
        day += DAY


def _session(session: TradingSession, day: date) -> Interval:
    opened, closed = _wall_time(session.open_time), _wall_time(session.close_time)
    if closed <= opened:
        closed += DAY
    return Interval(_instant(day, opened), _instant(day, closed))


def _wall_time(text: str) -> timedelta:
    return timedelta(hours=int(text[:2]), minutes=int(text[3:]))


def _instant(day: date, since_midnight: timedelta) -> datetime:
    # The schedule gives wall-clock times, so the time is added before the zone is attached.
    wall = datetime.combine(day, time()) + since_midnight
    return wall.replace(tzinfo=NEW_YORK).astimezone(UTC)
