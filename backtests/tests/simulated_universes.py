"""Universes of the simulated exchange, straight from its price process: weeks in seconds."""

from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from backtests.data.universe import (
    DAY,
    DOLLAR,
    MISSING,
    MONEY,
    SECOND,
    Grid,
    Ints,
    Listing,
    Quotes,
    Settlement,
    Terms,
    Universe,
)
from markets import fees
from markets.simulator import universe as exchange
from markets.simulator.cadence import STEP
from markets.simulator.hours import TradingHours
from markets.simulator.prices import Prices
from markets.simulator.render import settlements
from markets.simulator.series import GRIDS

HOURS = TradingHours()
# What a life is divided into, but no stretch is shorter than a minute.
LOOKS, SHORTEST = 40, 60
# Events whose quotes are computed at once.
BATCH = 500


def events(
    series: Sequence[str], *, start: int, days: int, seed: int = 1
) -> list[exchange.SimulatedEvent]:
    """All events of some series that open and settle within so many days."""
    first, last = start // SECOND, (start + days * DAY) // SECOND
    found = (
        HOURS.fit(everything.event(line, number))
        for everything in [exchange.SimulatedUniverse(seed=seed)]
        for line in everything.lines
        if line.series.ticker in series
        for number in line.numbers(first, last)
    )
    return [e for e in found if e is not None and first <= e.opened and e.settled < last]


def a_universe(chosen: Sequence[exchange.SimulatedEvent], *, bias: bool, step: int = 0) -> Universe:
    """Their markets, quoted every `step` seconds or else some forty times in their lives.

    Nothing is told of trades, so a run can take what is offered, and not wait for others to come.
    """
    parts, first = [], 0
    for batch in (chosen[i : i + BATCH] for i in range(0, len(chosen), BATCH)):
        parts.append(_rows(batch, first, bias=bias, step=step))
        first += sum(len(event.outcomes) for event in batch)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((columns["market"], columns["at"]))
    return listed(Quotes(**{name: column[order] for name, column in columns.items()}), chosen)


def listed(quotes: Quotes, chosen: Sequence[exchange.SimulatedEvent]) -> Universe:
    """With what is told of the markets of events, in their order, and what became of them."""
    return Universe(
        quotes=quotes,
        listings=[listing for event in chosen for listing in _listings(event)],
        settlements=[ended for event in chosen for ended in _settlements(event)],
        terms=[_terms(event) for event in chosen for _ in event.outcomes],
        grids=[_grids(event) for event in chosen for _ in event.outcomes],
    )


def _rows(
    batch: Sequence[exchange.SimulatedEvent], first: int, *, bias: bool, step: int
) -> dict[str, Ints]:
    """Looks at each market, and one more at its close, which ends its trading."""
    prices = Prices.of(batch, bias=bias, hours=HOURS)
    looks = [_instants(event, step) for event in batch]
    ends = np.cumsum([len(event.outcomes) for event in batch])
    places = np.split(np.arange(ends[-1]), ends[:-1])
    rows = np.concatenate([np.tile(own, len(at)) for own, at in zip(places, looks, strict=True)])
    at = np.concatenate([np.repeat(at, len(own)) for own, at in zip(places, looks, strict=True)])
    return books(prices, rows, at) | {"market": first + rows}


def books(prices: Prices, rows: Ints, at: Ints) -> dict[str, Ints]:
    """Columns of `Quotes` for markets, by their rows, at instants in seconds."""
    event = prices.traits.event[rows]
    quotes, lives = prices.quotes(rows, at), prices.lives
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
    step = step or max(SHORTEST, (event.ended - event.opened) // LOOKS // STEP * STEP)
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
    """A disputed result is only known once it is paid."""
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
