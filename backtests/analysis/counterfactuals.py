"""Counterfactual records: the same past with another future, or with other markets beside it.

A strategy without look-ahead bias decides the same on all of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from backtests.analysis import beside_quotes
from backtests.data import observations
from backtests.data.candles import CandleRanges
from backtests.data.tape import TradeTape
from backtests.data.universe import (
    CONTRACT,
    DOLLAR,
    MISSING,
    MONEY,
    SECOND,
    Grid,
    Ints,
    Settlement,
    Terms,
    Universe,
    instant,
)

T = TypeVar("T", Terms, Grid)
HOUR = 3_600 * SECOND


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """A universe that equals the original until an instant.

    `markets` are the original's indices of its markets, in its own order; `change` says in words
    how it differs.
    """

    universe: Universe
    until: int
    markets: Ints
    change: str


def with_plain_observations(universe: Universe) -> Universe:
    """Return the universe with observations which, cut off anywhere, are still those that the
    record has until then."""
    if universe.observed is None:
        return universe
    return replace(universe, observed=observations.without_runs(universe.observed))


def truncated(universe: Universe, at: int) -> Counterfactual:
    """The record as known at an instant: no later quote, market, settlement, fee or grid."""
    known = universe.quotes.until(at)
    markets = np.unique(known.market)
    cut = replace(universe, quotes=known).subset(markets.tolist())
    cut = replace(
        cut,
        settlements=tuple(s if s and s.known_at <= at else None for s in cut.settlements),
        terms=tuple(_until(at, terms) for terms in cut.terms),
        grids=tuple(_until(at, grids) for grids in cut.grids),
        observed=cut.observed and observations.known_at(cut.observed, at),
        gaps=cut.gaps and cut.gaps.known_at(at),
        tape=cut.tape and cut.tape.cut(at),
        candles=cut.candles and cut.candles.known_at(at),
        interest=cut.interest and cut.interest.changed(lambda market, known: known.until(at)),
        books=cut.books and cut.books.changed(lambda market, known: known.until(at)),
    )
    return Counterfactual(cut, at, markets, f"on the record up to {_words(at)}")


def mirrored(universe: Universe, at: int, rng: np.random.Generator) -> Counterfactual:
    """After an instant, YES and NO swap their prices, and some rows are missing."""
    quotes = universe.quotes
    later = quotes.at > at
    swapped = replace(
        quotes,
        bid=np.where(later, _other_side(quotes.ask), quotes.bid),
        ask=np.where(later, _other_side(quotes.bid), quotes.ask),
        bid_size=np.where(later, quotes.ask_size, quotes.bid_size),
        ask_size=np.where(later, quotes.bid_size, quotes.ask_size),
        last=np.where(later, _other_side(quotes.last), quotes.last),
        volume=np.where(later & (quotes.volume != MISSING), 2 * quotes.volume + 1, quotes.volume),
    )
    kept = ~later | (rng.random(len(quotes)) < 0.7)
    settlements = [_opposite(s) if s and s.known_at > at else s for s in universe.settlements]
    changed = replace(
        universe,
        quotes=swapped.select(kept),
        settlements=tuple(settlements),
        tape=universe.tape and _mirrored_tape(universe.tape, at, rng),
        candles=universe.candles and _mirrored_candles(universe.candles, at),
    )
    changed = beside_quotes.mirrored(_observed_otherwise(changed, at, rng), at)
    change = f"with YES and NO swapped after {_words(at)}"
    return Counterfactual(changed, at, np.arange(len(universe.listings)), change)


def shuffled(universe: Universe, at: int, rng: np.random.Generator) -> Counterfactual:
    """After an instant, each row shows the book of another row, of any market and time."""
    quotes = universe.quotes
    later = np.flatnonzero(quotes.at > at)
    rows = np.arange(len(quotes))
    rows[later] = rng.permutation(len(quotes))[: len(later)]
    another = quotes.select(rows)
    volume = another.volume.copy()
    volume[later] = rng.integers(0, 10**6, len(later)) * CONTRACT
    close_at = quotes.close_at.copy()
    close_at[later] += rng.integers(-48, 48, len(later)) * HOUR
    mixed = replace(another, at=quotes.at, market=quotes.market, volume=volume, close_at=close_at)
    last = int(quotes.at[-1])
    settlements = tuple(
        s if s and s.known_at <= at else _random_settlement(rng, last) for s in universe.settlements
    )
    tape = universe.tape and _shuffled_tape(universe.tape, at, rng)
    candles = universe.candles and _shuffled_candles(universe.candles, at, rng)
    changed = replace(universe, quotes=mixed, settlements=settlements, tape=tape, candles=candles)
    changed = beside_quotes.shuffled(_observed_otherwise(changed, at, rng), at)
    change = f"with the quotes shuffled after {_words(at)}"
    return Counterfactual(changed, at, np.arange(len(universe.listings)), change)


def without_some_markets(universe: Universe, rng: np.random.Generator) -> Counterfactual:
    """About half of the markets, in another order."""
    quoted = np.unique(universe.quotes.market)
    markets = rng.permutation(quoted)[: (len(quoted) + 1) // 2]
    last = int(universe.quotes.at[-1])
    return Counterfactual(
        universe.subset(markets.tolist()), last, markets, "with other markets left out"
    )


def renamed(universe: Universe) -> Counterfactual:
    """Every market, event and series under another name."""
    listings = universe.listings
    events = _numbered(listing.event for listing in listings)
    series = _numbered(listing.series for listing in listings)
    other = tuple(
        replace(
            listing,
            ticker=f"MARKET-{number}",
            event=f"EVENT-{events[listing.event]}",
            series=f"SERIES-{series[listing.series]}",
            title="",
        )
        for number, listing in enumerate(listings)
    )
    markets, last = np.arange(len(listings)), int(universe.quotes.at[-1])
    return Counterfactual(replace(universe, listings=other), last, markets, "under another name")


def _mirrored_tape(tape: TradeTape, at: int, rng: np.random.Generator) -> TradeTape:
    """After an instant, YES and NO swap their prices and takers, and some trades are missing."""
    later = tape.at > at
    swapped = tape._replace(
        price=np.where(later, DOLLAR - tape.price, tape.price),
        taker=np.where(later, -tape.taker, tape.taker),
    )
    return swapped.trades(~later | (rng.random(len(later)) < 0.7))


def _shuffled_tape(tape: TradeTape, at: int, rng: np.random.Generator) -> TradeTape:
    """After an instant, each trade has price, size and taker of another one."""
    later = np.flatnonzero(tape.at > at)
    rows = np.arange(len(tape.at))
    rows[later] = rng.permutation(len(rows))[: len(later)]
    another = tape.trades(rows)
    return tape._replace(price=another.price, contracts=another.contracts, taker=another.taker)


def _mirrored_candles(candles: CandleRanges, at: int) -> CandleRanges:
    """After an instant, YES and NO swap their prices."""
    later = candles.at > at
    return candles._replace(
        low=np.where(later, _other_side(candles.high), candles.low),
        high=np.where(later, _other_side(candles.low), candles.high),
        ask_low=np.where(later, _other_side(candles.bid_high), candles.ask_low),
        bid_high=np.where(later, _other_side(candles.ask_low), candles.bid_high),
    )


def _shuffled_candles(candles: CandleRanges, at: int, rng: np.random.Generator) -> CandleRanges:
    """After an instant, each candlestick has the range and the volume of another one."""
    later = np.flatnonzero(candles.at > at)
    rows = np.arange(len(candles.at))
    rows[later] = rng.permutation(len(rows))[: len(later)]
    told = ("low", "high", "contracts", "ask_low", "bid_high")
    return candles._replace(**{name: getattr(candles, name)[rows] for name in told})


def _observed_otherwise(universe: Universe, at: int, rng: np.random.Generator) -> Universe:
    """After an instant, half of the observations without a row and half of the gaps are missing."""
    gaps = universe.gaps
    if gaps is not None:
        gaps = gaps.only((gaps.since <= at) | (rng.random(len(gaps.since)) < 0.5))
    if universe.observed is None:
        return replace(universe, gaps=gaps)
    plain = observations.without_runs(universe.observed)
    kept = (plain.instants <= at) | (rng.random(len(plain.instants)) < 0.5)
    kept[observations.places(plain, universe.quotes.market, universe.quotes.at)] = True
    if gaps is not None:  # each ends with an observation
        gap_market = np.repeat(np.arange(plain.markets), np.diff(gaps.spans))
        kept[observations.places(plain, gap_market, gaps.until)] = True
    return replace(universe, observed=observations.only(plain, kept), gaps=gaps)


def _until(at: int, entries: Sequence[T]) -> tuple[T, ...]:
    """The first entry, and those that were in force by an instant."""
    return tuple(each for each in entries if each is entries[0] or each.since <= at)


def _other_side(prices: Ints) -> Ints:
    return np.where(prices == MISSING, MISSING, DOLLAR - prices)


def _opposite(settlement: Settlement) -> Settlement:
    value = MONEY - settlement.value if 2 * settlement.value != MONEY else 0
    return settlement._replace(value=value, paid_at=settlement.paid_at + HOUR)


def _random_settlement(rng: np.random.Generator, last: int) -> Settlement | None:
    if rng.random() < 0.3:
        return None
    known_at = last + int(rng.integers(1, 100)) * HOUR
    return Settlement(known_at, known_at + HOUR, int(rng.integers(0, 5)) * MONEY // 4)


def _numbered(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


def _words(at: int) -> str:
    return f"{instant(at):%Y-%m-%d %H:%M:%S.%f} UTC"
