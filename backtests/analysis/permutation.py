"""Permutation test of a run's moments of entry, within events.

Every entry is moved to other moments of its event at which it could have been bought: the same
contracts of the same side, at the offer that stood there, held for the same time or to settlement.
All entries of an event move together, each by the same share of the time in which the book of its
market had two sides, from the end back to the beginning. So what is bought at one moment stays
together, and whoever buys at moments taken at random has a p-value that is as often below any
number as that number says. The entries at their own moments are valued in the same way.

Phipson and Smyth (2010), "Permutation p-values should never be zero"; Hemerik and Goeman (2018),
"Exact testing with random permutations".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from backtests.analysis.entries import Entries
from backtests.analysis.tradable_time import UNITS, SideClock, TradableTime, final_values
from backtests.data.universe import (
    CONTRACT,
    DOLLAR,
    MISSING,
    Floats,
    Ints,
    Listing,
    Settlement,
    Universe,
)
from backtests.metrics.figures import pluralise
from backtests.metrics.marks import market_batches
from backtests.metrics.significance import Significance
from backtests.rules.execution import RunOutcome

SEED = 1
MOVES, LEAST_MOVES = 999, 199
# An entry that is moved once is a unit of work; so many take a few seconds.
WORK = 4_000_000
MOST_ENTRIES = WORK // LEAST_MOVES
LEAST_EVENTS = 10
CELLS_AT_ONCE = 250_000


class FeeRates(NamedTuple):
    """The taker's rate of each entry, by the terms in force at its own moment."""

    numerator: Ints
    denominator: Ints

    def fees(self, count: Ints, price: Ints) -> Ints:
        """The exact fees in millionths of a dollar, without rounding up."""
        exact = self.numerator[:, None] * count[:, None] * price * (DOLLAR - price)
        return exact // (self.denominator[:, None] * DOLLAR)


class MovedEntries(NamedTuple):
    """Entries of one side; `final` is the value of a contract at the end."""

    clock: SideClock
    entries: Entries
    rates: FeeRates
    final: Ints
    read: Ints

    def gains(self, shares: Floats) -> Ints:
        """The gains of all entries together, in hundredths of millionths of a dollar, each entry
        moved by these shares of its clock; one column for each move."""
        market, count = self.entries.market, self.entries.contracts
        lengths = self.clock.lengths(market)[:, None]
        moved = (self.read[:, None] + (shares * lengths).astype(np.int64)) % lengths
        at, offer = self.clock.moments(market[:, None], moved)
        held = self.entries.held[:, None]
        sale = np.where(
            held == MISSING, MISSING, self.clock.sales(market[:, None], at + np.maximum(held, 0))
        )
        worth = np.where(sale != MISSING, sale * UNITS, self.final[:, None])
        # What is not sold is sold for nothing, which costs no fee.
        fees = self.rates.fees(count, offer) + self.rates.fees(count, np.maximum(sale, 0))
        gained: Ints = count[:, None] * (worth - offer * UNITS) - fees * CONTRACT
        return gained.sum(axis=0)


class TradedMarkets(NamedTuple):
    """Some of the markets that a run traded, and the time in which they could be traded."""

    universe: Universe
    markets: Ints
    time: TradableTime

    def settlements(self) -> list[Settlement | None]:
        return [self.universe.settlements[market] for market in self.markets.tolist()]


@dataclass(slots=True)
class EntryGains:
    """The sums over all entries that could be moved; `gains` begins with their own moments."""

    gains: Ints
    count: int = 0
    entries: int = 0
    not_moved: int = 0
    events: set[int] = field(default_factory=set)


def significance_of(
    universe: Universe, outcome: RunOutcome, *, moves: int = MOVES, seed: int = SEED
) -> Significance:
    """Test the moments of entry of a run; the same seed gives the same moves.

    Of more than 20,000 entries, as many are tested, which the seed chooses.
    """
    entries = _some(Entries.of(outcome.journal), seed)
    event, names = _events(universe.listings, entries.market)
    if len(names) < LEAST_EVENTS:
        return _too_few(len(names))
    moves = min(moves, max(LEAST_MOVES, WORK // len(event)))
    shares = np.zeros((len(names), 1 + moves))
    for number, name in enumerate(names):
        shares[number, 1:] = np.random.default_rng(_seed_of(name, seed)).random(moves)
    tally = EntryGains(np.zeros(1 + moves, np.int64))
    for part in _parts(universe, entries.market):
        is_within = np.isin(entries.market, part.markets)
        for side in (1, -1):
            chosen = np.flatnonzero(is_within & (entries.side == side))
            if len(chosen):
                _add(tally, part, entries.select(chosen), event=event[chosen], shares=shares)
    return _judged(tally)


def _add(
    tally: EntryGains, part: TradedMarkets, entries: Entries, *, event: Ints, shares: Floats
) -> None:
    """Add the gains of entries of one side of some markets."""
    side = int(entries.side[0])
    clock = SideClock.of(part.time, side)
    local = entries._replace(market=np.searchsorted(part.markets, entries.market))
    read = clock.read(local.market, local.at)
    movable = np.flatnonzero(read != MISSING)
    event, local = event[movable], local.select(movable)
    rates = _rates(part.universe, entries.select(movable))
    final = final_values(clock, part.settlements(), side)[local.market]
    moved = MovedEntries(clock, local, rates, final, read[movable])
    tally.count += int(local.contracts.sum())
    tally.entries += len(movable)
    tally.not_moved += len(read) - len(movable)
    tally.events.update(event.tolist())
    at_once = max(1, CELLS_AT_ONCE // max(1, len(event)))
    for first in range(0, shares.shape[1], at_once):
        some = slice(first, first + at_once)
        tally.gains[some] += moved.gains(shares[event, some])


def _judged(tally: EntryGains) -> Significance:
    if len(tally.events) < LEAST_EVENTS:
        return _too_few(len(tally.events))
    own, others = int(tally.gains[0]), tally.gains[1:]
    mean, deviation = float(np.mean(others)), float(np.std(others))
    return Significance(
        entries=tally.entries,
        not_moved=tally.not_moved,
        events=len(tally.events),
        moves=len(others),
        gained=round(own / CONTRACT),
        moved_mean=round(mean / CONTRACT),
        effect=(own - mean) / tally.count,
        deviations=(own - mean) / deviation if deviation else None,
        p_value=(1 + int(np.count_nonzero(others >= own))) / (1 + len(others)),
    )


def _too_few(events: int) -> Significance:
    return Significance(
        withheld=f"{pluralise(events, 'event')} had an entry that could be moved, and the test"
        f" needs {LEAST_EVENTS}"
    )


def _events(listings: Sequence[Listing], markets: Ints) -> tuple[Ints, list[str]]:
    """The event of each entry, as a place among the names of all events with one."""
    distinct, place = np.unique(markets, return_inverse=True)
    names = [listings[market].event or listings[market].ticker for market in distinct.tolist()]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)[place], list(numbers)


def _some(entries: Entries, seed: int) -> Entries:
    """As many of the entries as there is time for; which they are does not depend on them."""
    if len(entries.at) <= MOST_ENTRIES:
        return entries
    chosen = np.random.default_rng(seed).permutation(len(entries.at))[:MOST_ENTRIES]
    return entries.select(np.sort(chosen))


def _seed_of(name: str, seed: int) -> int:
    return int.from_bytes(blake2b(f"{seed} {name}".encode(), digest_size=8).digest())


def _parts(universe: Universe, traded: Ints) -> Iterator[TradedMarkets]:
    """Yield the markets that were traded, as many at a time as fit into little memory."""
    markets, quotes = np.unique(traded), universe.quotes
    is_traded = np.zeros(len(universe.listings), np.bool_)
    is_traded[markets] = True
    rows = np.flatnonzero(is_traded[quotes.market])
    # A stable sort keeps the rows of a market in the order of time.
    rows = rows[np.argsort(quotes.market[rows], kind="stable")]
    starts = np.searchsorted(quotes.market[rows], np.append(markets, len(universe.listings)))
    for first, end in market_batches(starts):
        some, own_rows = markets[first:end], rows[starts[first] : starts[end]]
        if len(own_rows):
            yield TradedMarkets(universe, some, TradableTime.of(universe, some, own_rows))


def _rates(universe: Universe, entries: Entries) -> FeeRates:
    found = [
        _rate(universe, market, at)
        for market, at in zip(entries.market.tolist(), entries.at.tolist(), strict=True)
    ]
    rates = np.array(found, np.int64).reshape(-1, 2)
    return FeeRates(rates[:, 0], rates[:, 1])


def _rate(universe: Universe, market: int, at: int) -> tuple[int, int]:
    terms = universe.terms[market]
    if not terms:
        return 0, 1
    # The first terms hold until the second begin.
    in_force = next((each for each in reversed(terms) if each.since <= at), terms[0])
    return in_force.taker_numerator, in_force.taker_denominator
