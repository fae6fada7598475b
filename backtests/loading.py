"""Loading: from the record to the arrays of a run, with what was known of each market and when.

Where a market was recorded live, backfilled quotes between its first and its last live snapshot
are left out, unless the run reads backfilled quotes alone: the close of a candlestick is coarser
than live quotes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np

from backtests.data import timeline
from backtests.data.timeline import ColumnArrays, DefinitionHistory, Pauses
from backtests.data.universe import (
    DOLLAR,
    MISSING,
    MONEY,
    QUOTE_COLUMNS,
    Grid,
    Listing,
    Quotes,
    Settlement,
    Terms,
    Universe,
    instant,
    microseconds,
)
from backtests.models import SnapshotSources
from backtests.record import record
from backtests.requests import MarketSelection
from kalshi_insights.bad_input import BadInput
from markets import fees
from markets.intervals import merge
from markets.models import EventRevision, Market, MarketRevision, Status
from markets.models.revisions import FeeTerms

R = TypeVar("R", MarketRevision, EventRevision)
# The close of a market of which no close is on record, in microseconds.
NEVER = int(np.iinfo(np.int64).max)


def load(
    selection: MarketSelection,
    *,
    known_by: datetime,
    on_progress: Callable[[float], None] = lambda share: None,
) -> Universe:
    """The universe of a run, from what was recorded until `known_by`.

    What revisions do not hold of a market (its title, strikes, fee waiver) is as it is on record
    now. There is a row for each observed book, at the instant at which it was known, and for each
    instant in between at which trading ended or the known schedule changed; such a row repeats
    the book. The end of a pause shows no book: trading goes on with the next one. Settlements
    count whenever they came, as far as they are on record.

    Raises `BadInput`, naming a field, where there is nothing to run on.
    """
    ids = selection.market_ids()
    expected = selection.count_snapshots(ids)
    quotes: dict[int, ColumnArrays] = {}
    loaded = 0
    for market_id, columns in record.snapshots.arrays(
        ids, selection.start, selection.end, recorded_by=known_by
    ):
        loaded += len(columns["at"])
        if len((selected := _from_sources(columns, selection.sources))["at"]):
            quotes[market_id] = timeline.last_of_each_instant(selected)
        on_progress(min(1.0, loaded / expected))
    if not quotes:
        raise selection.no_quotes(ids)
    return _universe(quotes, selection, known_by=known_by)


# --- quotes -------------------------------------------------------------------------------------


def _from_sources(columns: ColumnArrays, sources: str) -> ColumnArrays:
    if sources == SnapshotSources.BEST:
        return timeline.without_backfill_inside(columns)
    backfilled = (columns["flags"] & timeline.BACKFILLED) != 0
    return timeline.select(
        columns, backfilled if sources == SnapshotSources.BACKFILLED else ~backfilled
    )


def _pauses(selection: MarketSelection, known_by: datetime) -> Pauses:
    """The announced closures, and the times at which the exchange said that it was not trading."""
    start, end = selection.start, selection.end
    announced = record.closures.between(start, end, known_by=known_by)
    reported = record.polls.closed_periods(start, end, known_by=known_by)
    return Pauses.of(
        [
            (microseconds(each.start), microseconds(each.end))
            for each in merge([*announced, *reported])
        ]
    )


def _quotes(rows: Sequence[ColumnArrays]) -> Quotes:
    """The rows of all markets by time, those of one instant in the order of their markets."""
    market = np.repeat(np.arange(len(rows)), [len(columns["at"]) for columns in rows])
    order = np.argsort(np.concatenate([columns["at"] for columns in rows]), kind="stable")
    columns = {
        name: np.concatenate([each[name] for each in rows])[order]
        for name in QUOTE_COLUMNS
        if name != "market"
    }
    tradable = columns.pop("tradable")
    integers = {name: column.astype(np.int64) for name, column in columns.items()}
    return Quotes(**integers, market=market[order], tradable=tradable)


# --- markets ------------------------------------------------------------------------------------


def _universe(
    quotes: dict[int, ColumnArrays], selection: MarketSelection, *, known_by: datetime
) -> Universe:
    markets = record.markets.by_ids(quotes)
    revisions = record.market_revisions.histories(markets, recorded_by=known_by)
    events = record.event_revisions.histories(
        {market.event_id for market in markets}, recorded_by=known_by
    )
    pauses = _pauses(selection, known_by)
    schedules = record.fee_changes.schedule(
        markets, start=selection.start, end=selection.end, recorded_by=known_by
    )
    end = microseconds(selection.end)
    rows: list[ColumnArrays] = []
    listings: list[Listing] = []
    grids: list[tuple[Grid, ...]] = []
    for market in markets:
        known, own = revisions[market.pk], quotes.pop(market.pk)
        first = instant(int(own["at"][0]))
        listings.append(_listing(market, _as_of(events[market.event_id], first)))
        grids.append(_grids(market, known, first))
        rows.append(timeline.timeline(own, _definitions(market, known), pauses, end=end))
    return Universe(
        _quotes(rows),
        listings,
        [_settlement(revisions[market.pk]) for market in markets],
        [_terms(market, schedules[market.pk]) for market in markets],
        grids,
    )


def _as_of(known: Sequence[R], at: datetime) -> R | None:
    """The newest revision at an instant; before the first one, the first."""
    newest = [each for each in known if each.known_at <= at][-1:] or known[:1]
    return newest[0] if newest else None


def _definitions(market: Market, known: Sequence[MarketRevision]) -> DefinitionHistory:
    closes = [each.close_time for each in known if each.close_time]
    closed = closes[-1] if closes else market.close_time
    return DefinitionHistory.of(
        [
            (
                microseconds(each.known_at),
                each.status == Status.ACTIVE,
                MISSING if each.close_time is None else microseconds(each.close_time),
            )
            for each in known
        ],
        closed_at=NEVER if closed is None else microseconds(closed),
    )


def _listing(market: Market, event_as_of: EventRevision | None) -> Listing:
    """The market as known then, as far as revisions tell; the rest as it is now."""
    event, known = market.event, event_as_of or market.event
    return Listing(
        ticker=market.ticker,
        event=event.ticker,
        series=event.series.ticker,
        category=event.series.category,
        title=": ".join(filter(None, (known.title or market.title, market.yes_sub_title))),
        mutually_exclusive=bool(known.mutually_exclusive),
        strike_type=market.strike_type,
        floor_strike=None if market.floor_strike is None else float(market.floor_strike),
        cap_strike=None if market.cap_strike is None else float(market.cap_strike),
    )


def _grids(market: Market, known: Sequence[MarketRevision], first: datetime) -> tuple[Grid, ...]:
    """The price grid at the first quote, and each grid that was later known to replace it."""
    current = (_as_of(known, first) or market).price_ranges
    grids = [Grid(microseconds(first), _ranges(current))]
    for each in known:
        if each.known_at > first and each.price_ranges != current:
            current = each.price_ranges
            grids.append(Grid(microseconds(each.known_at), _ranges(current)))
    return tuple(grids)


def _ranges(price_ranges: Iterable[Mapping[str, Any]]) -> tuple[tuple[int, int, int], ...]:
    # A step below a unit leaves out no price that our units can express.
    return tuple(
        (_units(each["start"]), _units(each["end"]), max(1, _units(each["step"])))
        for each in price_ranges
    )


def _units(price: str) -> int:
    return int(Decimal(price) * DOLLAR)


def _settlement(known: Sequence[MarketRevision]) -> Settlement | None:
    """The last outcome, known from where it was no longer changed; None before it is paid."""
    outcomes = [_value(each) for each in known]
    if not known or outcomes[-1] is None:
        return None
    paid = [each for each in known if each.status == Status.FINALIZED or each.settlement_ts]
    if not paid:
        return None
    first = len(outcomes)
    while first and outcomes[first - 1] == outcomes[-1]:
        first -= 1
    final, settled = known[first], paid[0]
    paid_at = max(final.known_at, settled.known_at, settled.settlement_ts or settled.known_at)
    assumed = final.known_at_assumed or settled.known_at_assumed
    return Settlement(microseconds(final.known_at), microseconds(paid_at), outcomes[-1], assumed)


def _value(revision: MarketRevision) -> int | None:
    """The settlement value of a YES contract, in millionths of a dollar."""
    if revision.settlement_value is not None:
        return int(revision.settlement_value * MONEY)
    return {"yes": MONEY, "no": 0}.get(revision.result)


def _terms(market: Market, schedule: Sequence[FeeTerms]) -> tuple[Terms, ...]:
    try:
        return tuple(
            Terms(
                microseconds(each.since),
                *fees.rate(each.fee_type, each.fee_multiplier, "taker"),
                *fees.rate(each.fee_type, each.fee_multiplier, "maker"),
                assumed=each.assumed,
            )
            for each in schedule
        )
    except fees.UnknownFees as reason:
        series = market.event.series.ticker
        raise BadInput(
            "fees",
            f"The fees of {market.ticker} are unknown: {reason}. The recorder reads the fee terms"
            f" of {series} from the exchange; until they are on record, leave the series out.",
        ) from None
