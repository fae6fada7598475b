"""Other records of the same past: what a strategy that knows no future cannot tell apart."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from backtests.data.universe import (
    CONTRACT,
    DOLLAR,
    MISSING,
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
WON = 1_000_000  # the settlement value of a contract that paid a dollar


@dataclass(frozen=True, slots=True)
class Alternative:
    """A universe that was as the original's until an instant; `places` tells which of the
    original's listings it has, in its own order."""

    universe: Universe
    until: int
    places: Ints
    change: str


def cut_off(universe: Universe, at: int) -> Alternative:
    """What was known at an instant: no later quote, market, settlement, fee or grid."""
    known = universe.quotes.until(at)
    places = np.unique(known.market)
    cut = replace(universe, quotes=known).of(places.tolist())
    cut = replace(
        cut,
        settlements=tuple(s if s and s.known_at <= at else None for s in cut.settlements),
        terms=tuple(_until(at, terms) for terms in cut.terms),
        grids=tuple(_until(at, grids) for grids in cut.grids),
    )
    return Alternative(cut, at, places, f"where nothing after {_when(at)} is known")


def turned_over(universe: Universe, at: int, rng: np.random.Generator) -> Alternative:
    """From an instant on, YES goes as NO went; of the rows, some are missing."""
    quotes = universe.quotes
    later = quotes.at > at
    turned = replace(
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
    turned_universe = replace(universe, quotes=turned.taken(kept), settlements=tuple(settlements))
    places = np.arange(len(universe.listings))
    return Alternative(turned_universe, at, places, f"where {_when(at)} is followed by its reverse")


def shuffled(universe: Universe, at: int, rng: np.random.Generator) -> Alternative:
    """From an instant on, each row shows the book of another, of whatever market and time."""
    quotes = universe.quotes
    later = np.flatnonzero(quotes.at > at)
    rows = np.arange(len(quotes))
    rows[later] = rng.permutation(len(quotes))[: len(later)]
    another = quotes.taken(rows)
    volume = another.volume.copy()
    volume[later] = rng.integers(0, 10**6, len(later)) * CONTRACT
    close_at = quotes.close_at.copy()
    close_at[later] += rng.integers(-48, 48, len(later)) * HOUR
    mixed = replace(another, at=quotes.at, market=quotes.market, volume=volume, close_at=close_at)
    last = int(quotes.at[-1])
    settlements = tuple(
        s if s and s.known_at <= at else _drawn(rng, last) for s in universe.settlements
    )
    mixed_universe = replace(universe, quotes=mixed, settlements=settlements)
    places = np.arange(len(universe.listings))
    return Alternative(mixed_universe, at, places, f"where {_when(at)} is followed by a jumble")


def among_others(universe: Universe, rng: np.random.Generator) -> Alternative:
    """About half of the markets, in another order."""
    there = np.unique(universe.quotes.market)
    places = rng.permutation(there)[: (len(there) + 1) // 2]
    last = int(universe.quotes.at[-1])
    return Alternative(
        universe.of(places.tolist()), last, places, "where other markets are missing"
    )


def renamed(universe: Universe) -> Alternative:
    """Every market, event and series under another name."""
    listings = universe.listings
    events = _numbered(listing.event for listing in listings)
    series = _numbered(listing.series for listing in listings)
    other = tuple(
        replace(
            listing,
            ticker=f"MARKET-{place}",
            event=f"EVENT-{events[listing.event]}",
            series=f"SERIES-{series[listing.series]}",
            title="",
        )
        for place, listing in enumerate(listings)
    )
    places, last = np.arange(len(listings)), int(universe.quotes.at[-1])
    return Alternative(replace(universe, listings=other), last, places, "under another name")


def _until(at: int, told: Sequence[T]) -> tuple[T, ...]:
    """What was in force at first, and what came into force by an instant."""
    return tuple(each for each in told if each is told[0] or each.since <= at)


def _other_side(prices: Ints) -> Ints:
    return np.where(prices == MISSING, MISSING, DOLLAR - prices)


def _opposite(settlement: Settlement) -> Settlement:
    value = WON - settlement.value if 2 * settlement.value != WON else 0
    return settlement._replace(value=value, paid_at=settlement.paid_at + HOUR)


def _drawn(rng: np.random.Generator, last: int) -> Settlement | None:
    if rng.random() < 0.3:
        return None
    known_at = last + int(rng.integers(1, 100)) * HOUR
    return Settlement(known_at, known_at + HOUR, int(rng.integers(0, 5)) * WON // 4)


def _numbered(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


def _when(at: int) -> str:
    return f"{instant(at):%Y-%m-%d %H:%M:%S.%f} UTC"
