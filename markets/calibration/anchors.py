"""The instant at which each market's price is observed, which no outcome can choose.

A lead time counts back from the close as it was scheduled then. The first instant at which
exactly so much was left is a stopping time: whoever watched the market knew it when it came. What
has no schedule on record counts back from the date that its event is about. Instants are
microseconds since 1970.
"""

import enum
from datetime import timedelta
from typing import NamedTuple

from kalshi_insights.arrays import Bools, Floats, Ints, np

MISSING = -1
MICROSECOND = timedelta(microseconds=1)
LEAD_TIMES = {
    "7d": timedelta(days=7),
    "24h": timedelta(hours=24),
    "6h": timedelta(hours=6),
    "1h": timedelta(hours=1),
    "10m": timedelta(minutes=10),
}
FIRST, RANDOM = "first", "random"
MOMENTS = {
    "7d": "7 days before the close",
    "24h": "24 hours before the close",
    "6h": "6 hours before the close",
    "1h": "1 hour before the close",
    "10m": "10 minutes before the close",
    FIRST: "first quote",
    RANDOM: "random instant",
}
# Which dates may stand for a close that nobody has on record as it was scheduled.
ANNOUNCED, FINAL = "announced", "final-close"
ANCHORS = {
    ANNOUNCED: "announced: the close as scheduled then, or else the event's date",
    FINAL: "final close of markets that could not close early and closed as expected",
}


class Anchor(enum.IntEnum):
    """The date that an instant was counted from."""

    NONE = 0
    SCHEDULED_CLOSE = 1
    STRIKE_DATE = 2
    OCCURRENCE = 3
    FINAL_CLOSE = 4
    FIRST_QUOTE = 5


class Exclusion(enum.IntEnum):
    """Why a settled market has no observation; NONE where it has one."""

    NONE = 0
    VALUE_UNKNOWN = 1
    SCHEDULE_UNKNOWN = 2
    TOO_LATE = 3
    ENDED = 4
    NO_QUOTE = 5
    PAUSED = 6
    ONE_SIDED = 7
    CROSSED = 8
    WIDE = 9
    SETTLEMENT_UNDATED = 10


class Schedules(NamedTuple):
    """Revisions of markets while they were open: the close that each states, from `known` on and
    before `until`. Rows are in order of market and `known`; of those without a close, it is
    MISSING, and `until` is MISSING where the revision still stands.
    """

    market: Ints
    known: Ints
    until: Ints
    close: Ints


class MarketDates(NamedTuple):
    """The dates of markets, by market id, ascending; MISSING where they are unknown.

    `may_close_early` is 0 or 1. `draw` is a number from 0 on and below 1 that only the ticker
    decides.
    """

    market: Ints
    opened: Ints
    closed: Ints
    expected: Ints
    may_close_early: Ints
    strike_date: Ints
    occurrence: Ints
    draw: Floats


class ObservedAt(NamedTuple):
    """The instant of each market's observation, what it was counted from, and why there is none."""

    at: Ints
    anchor: Ints
    reason: Ints


def observed_at(
    dates: MarketDates, schedules: Schedules, moment: str, anchor: str = ANNOUNCED
) -> ObservedAt:
    """Return the instants of a lead time or of a random instant, in the order of `dates`."""
    if moment == RANDOM:
        return _random(dates, schedules, anchor)
    lead = LEAD_TIMES[moment] // MICROSECOND
    at, is_scheduled, is_late = _left_exactly(dates, schedules, lead)
    base, kind = _announced(dates, anchor)
    announced_at = np.where(base == MISSING, MISSING, base - lead)
    found = ObservedAt(
        np.where(is_scheduled, at, announced_at),
        np.where(is_scheduled, Anchor.SCHEDULED_CLOSE, kind),
        np.where(is_late, Exclusion.TOO_LATE, Exclusion.NONE),
    )
    return _within_life(dates, found, is_scheduled)


def _left_exactly(dates: MarketDates, schedules: Schedules, lead: int) -> tuple[Ints, Bools, Bools]:
    """Return the first instants at which exactly so much was left, which markets have a schedule,
    and which of these were first known when less was left.
    """
    row = np.searchsorted(dates.market, schedules.market)
    has_close = schedules.close != MISSING
    at = schedules.close - lead
    until = np.where(schedules.until == MISSING, np.iinfo(np.int64).max, schedules.until)
    is_known = has_close & (at >= schedules.known)
    hit = np.flatnonzero(is_known & (at < until))
    first = np.full(len(dates.market), MISSING)
    # Of several rows of a market, the first one is written last.
    first[row[hit[::-1]]] = at[hit[::-1]]
    is_scheduled = np.zeros(len(dates.market), bool)
    is_scheduled[row[has_close]] = True
    was_ahead = np.zeros(len(dates.market), bool)
    was_ahead[row[is_known]] = True
    return first, is_scheduled, is_scheduled & ~was_ahead


def _announced(dates: MarketDates, anchor: str) -> tuple[Ints, Ints]:
    """Return the date that stands for an unknown schedule, and its kind."""
    base = np.where(dates.strike_date != MISSING, dates.strike_date, dates.occurrence)
    kind = np.where(dates.strike_date != MISSING, Anchor.STRIKE_DATE, Anchor.OCCURRENCE)
    if anchor == FINAL:
        as_expected = (dates.may_close_early == 0) & (dates.closed == dates.expected)
        is_final = (base == MISSING) & as_expected & (dates.closed != MISSING)
        base = np.where(is_final, dates.closed, base)
        kind = np.where(is_final, Anchor.FINAL_CLOSE, kind)
    return base, np.where(base == MISSING, Anchor.NONE, kind)


def _random(dates: MarketDates, schedules: Schedules, anchor: str) -> ObservedAt:
    """Draw an instant between the opening and the close as it was scheduled first.

    An instant before that schedule was known is none: nobody could have drawn it then.
    """
    row = np.searchsorted(dates.market, schedules.market)
    has_close = np.flatnonzero(schedules.close != MISSING)[::-1]
    scheduled, known = np.full((2, len(dates.market)), MISSING)
    scheduled[row[has_close]] = schedules.close[has_close]
    known[row[has_close]] = schedules.known[has_close]
    is_scheduled = scheduled != MISSING
    announced, kind = _announced(dates, anchor)
    base = np.where(is_scheduled, scheduled, announced)
    span = np.maximum(base - dates.opened, 0)
    at = dates.opened + (dates.draw * span).astype(np.int64)
    at = np.where((base == MISSING) | (dates.opened == MISSING), MISSING, at)
    is_early = is_scheduled & (at != MISSING) & (at < known)
    found = ObservedAt(
        at,
        np.where(is_scheduled, Anchor.SCHEDULED_CLOSE, kind),
        np.where(is_early, Exclusion.TOO_LATE, Exclusion.NONE),
    )
    return _within_life(dates, found, np.zeros(len(at), bool))


def _within_life(dates: MarketDates, found: ObservedAt, is_scheduled: Bools) -> ObservedAt:
    """Leave out instants that a market did not live to see, and say why.

    A schedule that was replaced before the instant leaves none: the market had ended, or its close
    had moved.
    """
    at, reason = found.at, found.reason
    is_open = reason == Exclusion.NONE
    has_none = is_open & (at == MISSING)
    reason = np.where(has_none & is_scheduled, Exclusion.ENDED, reason)
    reason = np.where(has_none & ~is_scheduled, Exclusion.SCHEDULE_UNKNOWN, reason)
    has_one = is_open & (at != MISSING)
    not_yet = has_one & (dates.opened != MISSING) & (at < dates.opened)
    over = has_one & (dates.closed != MISSING) & (at >= dates.closed)
    reason = np.where(not_yet, Exclusion.TOO_LATE, np.where(over, Exclusion.ENDED, reason))
    is_used = reason == Exclusion.NONE
    return ObservedAt(
        np.where(is_used, at, MISSING), np.where(is_used, found.anchor, Anchor.NONE), reason
    )
