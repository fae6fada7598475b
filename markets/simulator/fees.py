"""Fee terms that change with the calendar, so that a recorder has changes to record."""

from __future__ import annotations

from markets.simulator.cadence import DAY, Monthly, iso
from markets.simulator.render import Json, fee_override
from markets.simulator.series import Series
from markets.simulator.universe import Event

MONTHS = Monthly(1, 0)
CHEAP = 0.5
PAST = 200 * DAY
SOON = 40 * DAY


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


def event_changes(event: Event) -> list[Json]:
    override = fee_override(event)
    if override is None:
        return []
    return [
        {
            "id": f"{event.ticker}-1",
            "event_ticker": event.ticker,
            "series_ticker": event.series.ticker,
            "fee_type_override": event.series.fee_type,
            "fee_multiplier_override": override,
            "scheduled_ts": iso(event.created),
        }
    ]
