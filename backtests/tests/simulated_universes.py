"""Universes of the simulated exchange, made from its price process: weeks in seconds."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np

from backtests.data.universe import (
    DAY,
    DOLLAR,
    MISSING,
    MONEY,
    QUOTE_COLUMNS,
    SECOND,
    Grid,
    Ints,
    Listing,
    Quotes,
    Settlement,
    Terms,
    Universe,
)
from backtests.tests.random_universes import in_order
from markets import fees
from markets.observed import ObservedInstants
from markets.simulator import universe as exchange
from markets.simulator.cadence import STEP
from markets.simulator.hours import TradingHours
from markets.simulator.prices import Prices, SimulatedQuotes
from markets.simulator.render import settlements
from markets.simulator.series import GRIDS

HOURS = TradingHours()
# A market has so many quotes in its life, at least a minute apart.
QUOTES_OF_A_LIFE, SHORTEST_STEP = 40, 60
# Events whose quotes are computed at once.
BATCH = 500

# The columns of `Quotes`, but for the market, of markets at instants in seconds.
ColumnsOf = Callable[[Ints, Ints], dict[str, Ints]]


def simulated_events(
    series: Sequence[str], *, start: int, days: int, seed: int = 1
) -> list[exchange.SimulatedEvent]:
    """All events of some series that open and settle within `days`."""
    first, last = start // SECOND, (start + days * DAY) // SECOND
    events = (
        HOURS.fit(everything.event(line, number))
        for everything in [exchange.SimulatedUniverse(seed=seed)]
        for line in everything.lines
        if line.series.ticker in series
        for number in line.numbers(first, last)
    )
    return [e for e in events if e is not None and first <= e.opened and e.settled < last]


def simulated_universe(
    selected: Sequence[exchange.SimulatedEvent], *, bias: bool, step: int = 0
) -> Universe:
    """The markets of events, quoted every `step` seconds, or else about forty times in all.

    It holds no trades, so a run can take offers, but its resting orders are not filled by trades.
    """
    parts, first = [], 0
    for batch in (selected[i : i + BATCH] for i in range(0, len(selected), BATCH)):
        parts.append(_rows(batch, first, bias=bias, step=step))
        first += sum(len(event.outcomes) for event in batch)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((columns["market"], columns["at"]))
    return with_listings(
        Quotes(**{name: column[order] for name, column in columns.items()}), selected
    )


def recorded_universe(selected: Sequence[exchange.SimulatedEvent], *, bias: bool) -> Universe:
    """The markets of events observed every five seconds of their lives, with a row where a quote
    has changed, as the recorder makes them. It holds no trades either."""
    prices = Prices.of(selected, bias=bias, hours=HOURS)
    return observed_universe(prices, selected, partial(quote_columns, prices))


def observed_universe(
    prices: Prices, selected: Sequence[exchange.SimulatedEvent], columns_of: ColumnsOf
) -> Universe:
    """The same with the columns that `columns_of` gives for a market's row and its looks."""
    opened, ended = (
        each[prices.traits.event] for each in (prices.lives.opened, prices.lives.ended)
    )
    rows = [
        changes(columns_of, market, np.arange(opened[market], ended[market] + STEP, STEP))
        for market in range(len(opened))
    ]
    looks = np.arange(opened.min(), ended.max() + STEP, STEP) * SECOND
    observed = ObservedInstants(
        instants=looks,
        runs=np.arange(len(looks)),
        starts=np.array([0, len(looks)]),
        spans=np.arange(len(opened) + 1),
        since=opened * SECOND,
        until=ended * SECOND,
        streams=np.zeros(len(opened), np.int64),
    )
    return replace(with_listings(in_order(rows), selected), observed=observed)


def changes(columns_of: ColumnsOf, market: int, seconds: Ints) -> Quotes:
    """The quotes of one market that differ from the one before."""
    whole = np.full(len(seconds), market)
    columns: dict[str, Any] = columns_of(whole, seconds)
    quotes = Quotes(**columns, market=whole)
    changed = np.ones(len(seconds), np.bool_)
    told = (columns[name] for name in QUOTE_COLUMNS if name not in ("at", "market"))
    changed[1:] = np.any([column[1:] != column[:-1] for column in told], axis=0)
    return quotes.select(changed)


def with_listings(quotes: Quotes, selected: Sequence[exchange.SimulatedEvent]) -> Universe:
    """Add listings, settlements, fee terms and grids of the events' markets, in their order."""
    return Universe(
        quotes=quotes,
        listings=[listing for event in selected for listing in _listings(event)],
        settlements=[ended for event in selected for ended in _settlements(event)],
        terms=[_terms(event) for event in selected for _ in event.outcomes],
        grids=[_grids(event) for event in selected for _ in event.outcomes],
    )


def _rows(
    batch: Sequence[exchange.SimulatedEvent], first: int, *, bias: bool, step: int
) -> dict[str, Ints]:
    """The quotes of each market, with one at its close, which ends its trading."""
    prices = Prices.of(batch, bias=bias, hours=HOURS)
    instants_of = [_instants(event, step) for event in batch]
    ends = np.cumsum([len(event.outcomes) for event in batch])
    rows_of_events = np.split(np.arange(ends[-1]), ends[:-1])
    rows = np.concatenate(
        [np.tile(own, len(at)) for own, at in zip(rows_of_events, instants_of, strict=True)]
    )
    at = np.concatenate(
        [np.repeat(at, len(own)) for own, at in zip(rows_of_events, instants_of, strict=True)]
    )
    return quote_columns(prices, rows, at) | {"market": first + rows}


def quote_columns(prices: Prices, rows: Ints, at: Ints) -> dict[str, Ints]:
    """The columns of `Quotes` for markets, given as rows of `prices`, at instants in seconds."""
    return columns_of_books(prices, prices.quotes(rows, at), rows, at)


def columns_of_books(
    prices: Prices, quotes: SimulatedQuotes, rows: Ints, at: Ints
) -> dict[str, Ints]:
    """The same with the books that were shown at these instants."""
    event, lives = prices.traits.event[rows], prices.lives
    is_told = at >= lives.relisted[event]
    is_resting = (at >= lives.calm_end[event]) & (at < lives.late_start[event])
    is_closed = HOURS.trading_time(at + STEP) == HOURS.trading_time(at)
    return {
        "at": at * SECOND,
        "bid": np.where(quotes.bid > 0, quotes.bid, MISSING),
        "ask": np.where(quotes.ask < DOLLAR, quotes.ask, MISSING),
        "bid_size": np.where(quotes.bid > 0, quotes.bid_size, MISSING),
        "ask_size": np.where(quotes.ask < DOLLAR, quotes.ask_size, MISSING),
        "last": np.full(len(rows), MISSING),
        "volume": np.full(len(rows), MISSING),
        "close_at": np.where(is_told, lives.ended[event], lives.listed_close[event]) * SECOND,
        "tradable": (at < lives.ended[event]) & ~is_resting & ~is_closed,
    }


def _instants(event: exchange.SimulatedEvent, step: int) -> Ints:
    step = step or max(
        SHORTEST_STEP, (event.ended - event.opened) // QUOTES_OF_A_LIFE // STEP * STEP
    )
    return np.append(np.arange(event.opened, event.ended, step), event.ended)


def _listings(event: exchange.SimulatedEvent) -> list[Listing]:
    return [
        Listing(
            ticker=ticker,
            event=event.ticker,
            series=event.series.ticker,
            category=event.series.category,
            mutually_exclusive=event.series.exclusive,
        )
        for ticker in event.tickers()
    ]


def _settlements(event: exchange.SimulatedEvent) -> list[Settlement]:
    """The settlements of an event; a disputed result is only known once it is paid."""
    known_at = event.settled if event.disputed else event.determined
    return [
        Settlement(known_at * SECOND, event.settled * SECOND, int(Decimal(value) * MONEY))
        for _, value in settlements(event, at_first=False)
    ]


def _terms(event: exchange.SimulatedEvent) -> tuple[Terms, ...]:
    series = event.series
    multiplier = Decimal(str(series.fee_multiplier))
    taker, maker = (fees.rate(series.fee_type, multiplier, who) for who in ("taker", "maker"))
    return (Terms(0, *taker, *maker),)


def _grids(event: exchange.SimulatedEvent) -> tuple[Grid, ...]:
    edge, edge_step, center_step = GRIDS[event.series.structure]
    stretches = (
        (0, edge, edge_step),
        (edge, DOLLAR - edge, center_step),
        (DOLLAR - edge, DOLLAR, edge_step),
    )
    return (Grid(0, tuple(stretch for stretch in stretches if stretch[0] < stretch[1])),)
