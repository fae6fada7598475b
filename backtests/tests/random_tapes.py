"""Random tapes and candlesticks for universes, around their quotes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from backtests.data.candles import CandleRanges
from backtests.data.tape import TradeTape, is_whole, tape_of
from backtests.data.universe import DOLLAR, MISSING, Ints, Universe


def with_tape(universe: Universe, seed: int, *, trades: int = 400) -> Universe:
    """The same universe with a tape of about `trades` trades; some share the instants of rows.

    Every third market has no tape, and the others have one stretch or two.
    """
    rng = np.random.default_rng(seed)
    quotes = universe.quotes
    stretches = [
        _stretches(rng, quotes.at[quotes.market == market])
        for market in range(len(universe.listings))
    ]
    rows = rng.integers(0, len(quotes), trades)
    pause = np.append(np.diff(quotes.at), 1)[rows]
    at = quotes.at[rows] + np.where(rng.random(trades) < 0.3, 0, (pause * rng.random(trades)))
    price = np.where(rng.random(trades) < 0.5, quotes.bid[rows], quotes.ask[rows])
    price = np.where(price == MISSING, DOLLAR // 2, price) + rng.integers(-3, 4, trades) * 100
    columns = (
        at.astype(np.int64),
        quotes.market[rows],
        np.clip(price, 10, DOLLAR - 10),
        rng.integers(1, 6_000, trades),
        rng.choice([-1, 0, 1], trades, p=[0.45, 0.1, 0.45]),
        at.astype(np.int64) + 1_000_000,
    )
    return replace(universe, tape=_inside(columns, stretches))


def with_candles(universe: Universe, seed: int) -> Universe:
    """The same universe with candlesticks behind half of its rows, most of them one row long."""
    rng = np.random.default_rng(seed)
    quotes = universe.quotes
    order = np.argsort(quotes.market, kind="stable")
    market, at = quotes.market[order], quotes.at[order]
    first = np.append(True, np.diff(market) != 0)
    begun = np.where(first, at - 60, np.roll(at, 1)) - np.where(rng.random(len(at)) < 0.1, 5, 0)
    last = np.where(quotes.last == MISSING, DOLLAR // 2, quotes.last)[order]
    low, high = (last + sign * rng.integers(0, 300, len(at)) for sign in (-1, 1))
    kept = rng.random(len(at)) < 0.5
    spans = np.concatenate(([0], np.cumsum(kept)))[
        np.searchsorted(market, np.arange(len(universe.listings) + 1))
    ]
    contracts = rng.integers(1, 6_000, len(at))
    # Some have no trades, and in some the best prices moved beyond all that rows show.
    contracts = np.where(rng.random(len(at)) < 0.2, 0, contracts)
    ask_low, bid_high = (
        np.where(rng.random(len(at)) < 0.5, MISSING, rng.integers(1, DOLLAR, len(at)))
        for _ in range(2)
    )
    columns = (
        *(begun, at, np.maximum(low, 1), np.minimum(high, DOLLAR - 1)),
        *(contracts, ask_low, bid_high),
    )
    return replace(universe, candles=CandleRanges(spans, *(each[kept] for each in columns)))


def _stretches(rng: np.random.Generator, at: Ints) -> list[tuple[int, int]]:
    if not len(at) or rng.random() < 1 / 3:
        return []
    edges = np.unique(rng.choice(np.concatenate((at, at + 1_000, at - 1_000)), 4))
    return [
        (int(since), int(until)) for since, until in edges[: len(edges) // 2 * 2].reshape(-1, 2)
    ]


def _inside(columns: Sequence[Ints], stretches: Sequence[Sequence[tuple[int, int]]]) -> TradeTape:
    spans = tape_of([], stretches)
    rows = np.column_stack(columns).tolist()
    return tape_of([row for row in rows if is_whole(spans, row[1], row[0], row[0])], stretches)
