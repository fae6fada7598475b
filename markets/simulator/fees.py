"""Fees that change with the calendar, so that a recorder has changes to record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markets.simulator.cadence import DAY, Monthly, iso
from markets.simulator.noise import fraction
from markets.simulator.render import Json
from markets.simulator.series import SimulatedSeries
from markets.simulator.universe import SimulatedEvent, floor_to_step

MONTHS = Monthly(1, 0)
CHEAP = 0.5
PAST = 200 * DAY
SOON = 40 * DAY
# The share of sports events with a fee override, and among these the share that has it from the
# start and the share that loses it as the game begins.
OVERRIDDEN, FROM_THE_START, UNTIL_THE_GAME = 0.08, 0.4, 0.5


class FeeOverride(NamedTuple):
    """An event's own multiplier from an instant on; None returns to that of its series."""

    since: int
    multiplier: float | None


def multiplier(series: SimulatedSeries, at: int) -> float:
    """The multiplier of a series. Those with maker fees cost half in every other month."""
    if series.fee_type != "quadratic_with_maker_fees":
        return series.fee_multiplier
    month = MONTHS.numbers(at - 32 * DAY, at + 1)[-1]
    return series.fee_multiplier * (CHEAP if month % 2 else 1.0)


def series_changes(series: SimulatedSeries, now: int, *, past: bool) -> list[Json]:
    """List the coming changes, and with `past` those of the last months too."""
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


def overrides(event: SimulatedEvent) -> list[FeeOverride]:
    """List an event's fee overrides, oldest first."""
    key = event.key
    if event.series.category != "Sports" or fraction(key, 7) >= OVERRIDDEN:
        return []
    later = fraction(key, 15) >= FROM_THE_START
    middle = event.opened + (event.late_start - event.opened) * (0.2 + 0.6 * fraction(key, 16))
    found = [FeeOverride(floor_to_step(middle) if later else event.created, CHEAP)]
    if fraction(key, 17) < UNTIL_THE_GAME:
        found.append(FeeOverride(event.late_start, None))
    return found


def in_force(changes: Sequence[FeeOverride], at: int) -> float | None:
    """The event's own multiplier at an instant; None where it has none."""
    begun = [multiplier for since, multiplier in changes if since <= at]
    return begun[-1] if begun else None


def event_changes(event: SimulatedEvent) -> list[Json]:
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
