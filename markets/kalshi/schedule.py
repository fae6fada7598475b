"""When trading rests, as the exchange's schedule says it beforehand."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from markets.kalshi.replies import Schedule, Session, Week

NEW_YORK = ZoneInfo("America/New_York")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAY = timedelta(days=1)

Stretch = tuple[datetime, datetime]


def closures(schedule: Schedule, *, start: datetime, days: int) -> list[Stretch]:
    """Stretches of the days from `start` on without trading, merged, oldest first, in UTC.

    Nothing is said of time that no week of the schedule covers.
    """
    whole = (start.astimezone(UTC), start.astimezone(UTC) + days * DAY)
    weeks = [(week, _common((week.start_time, week.end_time), whole)) for week in _known(schedule)]
    covered = [stretch for _, stretch in weeks if stretch]
    trading = [found for week, stretch in weeks if stretch for found in _sessions(week, stretch)]
    maintenance = [
        _common((window.start_datetime, window.end_datetime), whole)
        for window in schedule.maintenance_windows
    ]
    return _merged([*_less(covered, trading), *filter(None, maintenance)])


def _known(schedule: Schedule) -> Iterator[Week]:
    return (week for week in schedule.standard_hours if week.start_time < week.end_time)


def _sessions(week: Week, within: Stretch) -> Iterator[Stretch]:
    day, last = within[0].astimezone(NEW_YORK).date() - DAY, within[1].astimezone(NEW_YORK).date()
    while day <= last:
        for session in getattr(week, WEEKDAYS[day.weekday()]):
            found = _common(_instants(session, day), within)
            if found:
                yield found
        day += DAY


def _instants(session: Session, day: date) -> Stretch:
    opened, closed = _wall_time(session.open_time), _wall_time(session.close_time)
    if closed <= opened:
        closed += DAY
    return _instant(day, opened), _instant(day, closed)


def _wall_time(text: str) -> timedelta:
    return timedelta(hours=int(text[:2]), minutes=int(text[3:]))


def _instant(day: date, since_midnight: timedelta) -> datetime:
    # Added without a zone: on the clock's wall, not in hours that pass.
    wall = datetime.combine(day, time()) + since_midnight
    return wall.replace(tzinfo=NEW_YORK).astimezone(UTC)


def _common(one: Stretch, other: Stretch) -> Stretch | None:
    start, end = max(one[0], other[0]), min(one[1], other[1])
    return (start.astimezone(UTC), end.astimezone(UTC)) if start < end else None


def _merged(stretches: Iterable[Stretch]) -> list[Stretch]:
    merged: list[Stretch] = []
    for start, end in sorted(stretches):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _less(stretches: Iterable[Stretch], taken: Iterable[Stretch]) -> Iterator[Stretch]:
    """What is left of the stretches where the taken ones are cut out."""
    cuts = _merged(taken)
    for start, end in _merged(stretches):
        at = start
        for cut_start, cut_end in cuts:
            if at < cut_start < end:
                yield at, cut_start
            if start < cut_end:
                at = max(at, cut_end)
        if at < end:
            yield at, end
