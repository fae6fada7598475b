"""Fee terms that change with the calendar, so that a recorder has changes to record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markets.simulator.cadence import DAY, Monthly, iso
from markets.simulator.noise import fraction
from markets.simulator.render import Json
from markets.simulator.series import Series
from markets.simulator.universe import Event, grid

MONTHS = Monthly(1, 0)
CHEAP = 0.5
PAST = 200 * DAY
SOON = 40 * DAY
# Shares: of the sports events with fees of their own, of those that have them from the first
# moment, and of those that lose them as the game begins.
OVERRIDDEN, FROM_THE_START, UNTIL_THE_GAME = 0.08, 0.4, 0.5


class Change(NamedTuple):
    """From when on an event has which multiplier of its own; None: its series' again."""

    since: int
    multiplier: float | None


def multiplier(series: Series, at: int) -> float:
    """Series with maker fees cost half in every other month."""
    if series.fee_type != "quadratic_with_maker_fees":
        return series.fee_multiplier
    month = MONTHS.numbers(at - 32 * DAY, at + 1)[-1]
    return series.fee_multiplier * (CHEAP if month % 2 else 1.0)


def series_changes(series: Series, now: int, *, past: bool) -> list[Json]:
    """The changes to come, and on demand those of the last months."""
    if series.fee_type != "quadratic_with_maker_fees":
        return []
    numbers = MONTHS.numbers(now - PAST if past else now + 1, now + SOON)
    return [
        {
            "id": f"{series.ticker}-{number}",
            "series_ticker": series.ticker,
            "fee_type": series.fee_type,
            "fee_multiplier": multiplier(series, MONTHS.anchor(number)),
            "scheduled_ts": iso(MONTHS.anchor(number)),
        }
        for number in numbers
    ]


def overrides(event: Event) -> list[Change]:
    """What changes of an event's own multiplier, oldest first."""
    key = event.key
    if event.series.category != "Sports" or fraction(key, 7) >= OVERRIDDEN:
        return []
    later = fraction(key, 15) >= FROM_THE_START
    middle = event.opened + (event.knee - event.opened) * (0.2 + 0.6 * fraction(key, 16))
    found = [Change(grid(middle) if later else event.created, CHEAP)]
    if fraction(key, 17) < UNTIL_THE_GAME:
        found.append(Change(event.knee, None))
    return found


def in_force(changes: Sequence[Change], at: int) -> float | None:
    """The multiplier of its own that an event has at an instant."""
    begun = [multiplier for since, multiplier in changes if since <= at]
    return begun[-1] if begun else None


def event_changes(event: Event) -> list[Json]:
    return [
        {
            "id": f"{event.ticker}-{number}",
            "event_ticker": event.ticker,
            "series_ticker": event.series.ticker,
            "fee_type_override": event.series.fee_type if multiplier is not None else None,
            "fee_multiplier_override": multiplier,
            "scheduled_ts": iso(since),
        }
        for number, (since, multiplier) in enumerate(overrides(event), start=1)
    ]
