"""Random quotes that change as often as recorded ones, which mostly stay the same."""

from datetime import UTC, datetime

import numpy as np

from backtests.data.tape import TradeTape
from backtests.data.universe import (
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
    microseconds,
)
from markets.observed import ObservedInstants

START = microseconds(datetime(2026, 9, 1, tzinfo=UTC))
INTERVAL = 5 * SECOND
MOVING = 0.18  # share of quotes that change, as on the simulated exchange
CENT = 100
PLAIN = Terms(0, 7, 100, 0, 1)
CENTS = Grid(0, ((0, DOLLAR, CENT),))


def quotes(rows: int, *, markets: int, seed: int = 1) -> Quotes:
    """Quote every market at every instant, a cent or two wide, in whole cents."""
    rng = np.random.default_rng(seed)
    instants = rows // markets
    shape = (instants, markets)
    moves = rng.choice([-1, 1], shape) * (rng.random(shape) < MOVING)
    # The walk is reflected, so that it neither sticks to an end nor leaves the range.
    height = np.abs((rng.integers(20, 80, markets) + np.cumsum(moves, axis=0)) % 188 - 94) + 2
    bid = height * CENT
    ask = bid + CENT * rng.integers(1, 3, markets)
    at = START + np.arange(instants) * INTERVAL
    return Quotes(
        at=np.repeat(at, markets),
        market=np.tile(np.arange(markets), instants),
        bid=bid.ravel(),
        ask=ask.ravel(),
        bid_size=rng.integers(1_000, 50_000, rows),
        ask_size=rng.integers(1_000, 50_000, rows),
        last=np.full(rows, MISSING),
        volume=np.full(rows, MISSING),
        close_at=np.full(rows, at[-1] + INTERVAL),
        tradable=np.ones(rows, np.bool_),
    )


def listed(quotes: Quotes, *, markets: int) -> Universe:
    """Make a universe with events of four markets, standard fees and random outcomes."""
    end = int(quotes.close_at[0])
    listings = [
        Listing(ticker=f"KXWALK-{n // 4}-T{n}", event=f"KXWALK-{n // 4}") for n in range(markets)
    ]
    values = np.random.default_rng(0).integers(0, 2, markets) * MONEY
    settlements = [Settlement(end, end + INTERVAL, int(value)) for value in values]
    return Universe(
        quotes,
        listings,
        settlements,
        [(PLAIN,)] * markets,
        [(CENTS,)] * markets,
        observed_together(quotes.at[::markets], markets=markets),
    )


def observed_together(at: Ints, *, markets: int) -> ObservedInstants:
    """Observe all markets at the same instants."""
    return ObservedInstants(
        instants=at,
        runs=np.arange(len(at)),
        starts=np.array([0, len(at)]),
        spans=np.arange(markets + 1),
        since=np.full(markets, at[0]),
        until=np.full(markets, at[-1]),
        streams=np.zeros(markets, np.int64),
    )


def tape_of(quotes: Quotes, trades: int, *, markets: int, seed: int = 2) -> TradeTape:
    """Make as many trades at the quotes, a hundred contracts at most, and none missing."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.integers(0, len(quotes), trades))
    taker = rng.choice([-1, 1], trades)
    start, end = int(quotes.at[0]), int(quotes.at[-1]) + INTERVAL
    at = quotes.at[rows] + rng.integers(1, INTERVAL, trades)
    order = np.lexsort((quotes.market[rows], at))
    return TradeTape(
        at=at[order],
        market=quotes.market[rows][order],
        price=np.where(taker > 0, quotes.ask[rows], quotes.bid[rows])[order],
        contracts=rng.integers(1, 10_000, trades)[order],
        taker=taker[order],
        known_at=at[order],
        spans=np.arange(markets + 1),
        since=np.full(markets, start),
        until=np.full(markets, end),
    )
