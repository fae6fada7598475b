"""Candlesticks, computed from every state of the book and from the trades."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np

from markets.simulator.book import SimulatedBooks
from markets.simulator.cadence import DAY, MINUTE
from markets.simulator.hours import EXCHANGE_ZONE
from markets.simulator.noise import Ints
from markets.simulator.orders import SECOND
from markets.simulator.prices import Prices
from markets.simulator.render import PRICES, Json, count_text
from markets.simulator.trades import trades_of

DAILY = 1440


def period_ends(start: int, end: int, minutes: int) -> list[int]:
    """List the period ends in [start, end]. Days end at midnight in New York."""
    if minutes != DAILY:
        seconds = minutes * MINUTE
        return list(range(-(-start // seconds) * seconds, end + 1, seconds))
    day = datetime.fromtimestamp(start - DAY, EXCHANGE_ZONE).date()
    ends: list[int] = []
    while True:
        midnight = datetime(day.year, day.month, day.day, tzinfo=EXCHANGE_ZONE)
        at = int(midnight.astimezone(UTC).timestamp())
        if at > end:
            return ends
        if at >= start:
            ends.append(at)
        day += timedelta(days=1)


def periods(prices: Prices, row: int, span: tuple[int, int], *, minutes: int) -> list[int]:
    """List the ends of a market's periods in a span, preceded by the start of the first period."""
    event = int(prices.traits.event[row])
    opened, ended = int(prices.lives.opened[event]), int(prices.lives.ended[event])
    length = minutes * MINUTE
    # We start two periods early, because one day may have 25 hours.
    first = max(span[0], opened) - 2 * length
    ends = period_ends(first, min(span[1], ended + length), minutes)
    inside = [i for i in range(1, len(ends)) if ends[i] >= span[0] and ends[i] > opened]
    inside = [i for i in inside if ends[i - 1] < ended]
    return [ends[inside[0] - 1], *(ends[i] for i in inside)] if inside else []


def candlesticks(books: SimulatedBooks, row: int, bounds: list[int]) -> list[Json]:
    """One candle for each pair of neighbouring bounds, (start, end]."""
    if not bounds:
        return []
    edges = np.array(bounds, dtype=np.int64)
    bids, asks = quote_candles(books, row, edges)
    trades = trade_candles(books, row, edges)
    return [
        {"end_period_ts": end, "yes_bid": bid, "yes_ask": ask, **trade}
        for end, bid, ask, trade in zip(bounds[1:], bids, asks, trades, strict=True)
    ]


def quote_candles(books: SimulatedBooks, row: int, edges: Ints) -> tuple[list[Json], list[Json]]:
    prices, edges = books.prices, edges * SECOND
    event = int(prices.traits.event[row])
    opened, ended = (int(at[event]) * SECOND for at in (prices.lives.opened, prices.lives.ended))
    quoted = prices.changes(event, int(edges[0]) // SECOND, int(edges[-1]) // SECOND) * SECOND
    moved = books.moves(row, int(edges[0]), int(edges[-1]))
    inside = moved[(moved > edges[0]) & (moved < edges[-1])]
    instants = np.unique(np.concatenate([edges, quoted, inside]))
    # The quotes of the last instant of trading stay until the period ends.
    quotes = books.best(np.full(len(instants), row), np.clip(instants, opened, ended - 1))
    first = np.searchsorted(instants, edges[:-1], side="left")
    last = np.searchsorted(instants, edges[1:], side="left")
    return ohlc(quotes.bid, first, last), ohlc(quotes.ask, first, last)


def ohlc(values: Ints, first: Ints, last: Ints) -> list[Json]:
    """Open, low, high and close of values[first] to values[last] of each period, inclusive."""
    # reduceat needs an index past the last value.
    padded = np.append(values, values[-1])
    pairs = np.stack([first, last + 1], axis=1).reshape(-1)
    columns = (
        values[first],
        np.minimum.reduceat(padded, pairs)[::2],
        np.maximum.reduceat(padded, pairs)[::2],
        values[last],
    )
    names = ("open_dollars", "low_dollars", "high_dollars", "close_dollars")
    return [
        dict(zip(names, (PRICES[value] for value in row), strict=True))
        for row in zip(*(column.tolist() for column in columns), strict=True)
    ]


def trade_candles(books: SimulatedBooks, row: int, edges: Ints) -> list[Json]:
    orders, rows = books.orders, np.full(len(edges), row)
    counts = orders.count(rows, edges * SECOND)
    # The last trade before the first period gives its previous price.
    numbers = np.arange(max(int(counts[0]) - 1, 0), int(counts[-1]))
    trades = trades_of(books, np.full(len(numbers), row), numbers)
    bounds = np.searchsorted(trades.numbers, counts, side="left").tolist()
    total = orders.volume(rows, counts)
    held = orders.interest(rows, total)
    return [
        {
            "price": trade_prices(trades.prices, trades.sizes, first, last),
            "volume_fp": count_text(int(total[i + 1] - total[i])),
            "open_interest_fp": count_text(int(held[i + 1])),
        }
        for i, (first, last) in enumerate(pairwise(bounds))
    ]


def trade_prices(price: Ints, size: Ints, first: int, last: int) -> Json:
    """Trade prices of a period, null where nothing traded; `previous` is the last one before it."""
    names = ("open", "low", "high", "close", "mean", "min", "max")
    found: Json = {f"{name}_dollars": None for name in names}
    if last > first:
        inside, weights = price[first:last], size[first:last]
        low, high = PRICES[int(inside.min())], PRICES[int(inside.max())]
        mean = PRICES[round(float(np.average(inside, weights=weights)))]
        values = (PRICES[int(inside[0])], low, high, PRICES[int(inside[-1])], mean, low, high)
        found = {f"{name}_dollars": value for name, value in zip(names, values, strict=True)}
    found["previous_dollars"] = PRICES[int(price[first - 1])] if first > 0 else None
    return found


def historical(candle: Json) -> Json:
    """Rename a candle's fields to those of the historical tier."""
    return {name.removesuffix("_fp"): historical_field(value) for name, value in candle.items()}


def historical_field(value: object) -> object:
    if not isinstance(value, dict):
        return value
    dropped = {"min_dollars", "max_dollars"}
    return {n.removesuffix("_dollars"): v for n, v in value.items() if n not in dropped}
