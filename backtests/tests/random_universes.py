"""Small random universes with everything that a record of Kalshi can hold."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from backtests.data.gaps import MarketGaps
from backtests.data.universe import (
    DAY,
    DOLLAR,
    MISSING,
    QUOTE_COLUMNS,
    SECOND,
    Bools,
    Floats,
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

STEP = 300 * SECOND
START = microseconds(datetime(2026, 5, 26, 18, tzinfo=UTC))  # two days before a fee rule ends
LEGS = 3
CENTS = ((0, DOLLAR, 100),)
TAPERED = ((0, 1_000, 10), (1_000, 9_000, 100), (9_000, DOLLAR, 10))
GRIDS = (CENTS, TAPERED, ())
VALUES = (0, 1_000_000, 500_000, 723_400)
FRESH = 90 * SECOND


def random_universe(
    seed: int, *, markets: int = 6, rows: int = 400, ended: float = 0.85
) -> Universe:
    """Make markets in events of three, every other event exclusive, with about `rows` rows each.

    Some books are one-sided, empty, locked or crossed; some sizes are unknown or fractional.
    Markets begin and close at different times, pause, share instants, and move their close.
    `ended` is the share of markets that are settled: as yes, as no, or in between.
    """
    rng = np.random.default_rng(seed)
    truths, winners = _truths(rng, markets, rows)
    columns = [_market(rng, place, truths[place]) for place in range(markets)]
    quotes = in_order(columns)
    settlements = [
        _settlement(rng, columns[place], winners[place]) if rng.random() < ended else None
        for place in range(markets)
    ]
    return Universe(
        quotes=quotes,
        listings=tuple(_listing(place) for place in range(markets)),
        settlements=tuple(settlements),
        terms=tuple(_terms(rng, rows) for _ in range(markets)),
        grids=tuple(_grids(place, rows) for place in range(markets)),
    )


def watched(universe: Universe, seed: int) -> Universe:
    """Add observations between the rows, which the markets share in part, and gaps between them."""
    rng = np.random.default_rng(seed)
    quotes, markets = universe.quotes, len(universe.listings)
    end = int(quotes.at[-1])
    streams = [_stream(rng, end, every) for every in (70, 110)]
    spans = [[(*_stretch(rng, end), stream) for stream in (0, 1)] for _ in range(markets)]
    for market in range(markets):
        own = quotes.at[quotes.market == market]
        spans[market].append((0, end, len(streams)))
        streams.append((own, np.full(len(own), -1)))
    table = np.array([span for own in spans for span in own], np.int64).reshape(-1, 3)
    observed = ObservedInstants(
        np.concatenate([at for at, _ in streams]),
        np.concatenate([runs for _, runs in streams]),
        np.cumsum([0, *(len(at) for at, _ in streams)]),
        np.cumsum([0, *(len(own) for own in spans)]),
        *(column.copy() for column in table.T),
    )
    return replace(universe, observed=observed, gaps=_gaps(rng, observed))


def _stream(rng: np.random.Generator, end: int, every: int) -> tuple[Ints, Ints]:
    """Instants about so many seconds apart, some of them missing; a run takes 200 seconds."""
    at = np.arange(START + int(rng.integers(0, every)) * SECOND, end, every * SECOND)
    at = at[rng.random(len(at)) < 0.7]
    return at, (at - START) // (200 * SECOND)


def _stretch(rng: np.random.Generator, end: int) -> tuple[int, int]:
    since, until = np.sort(rng.integers(START, end + 1, 2)).tolist()
    return since, until


def _gaps(rng: np.random.Generator, observed: ObservedInstants) -> MarketGaps:
    """Most of the times between two observations that are longer than `FRESH`."""
    found = []
    for market in range(observed.markets):
        at = observed.of_market(market)
        long = (np.diff(at) > FRESH) & (rng.random(max(0, len(at) - 1)) < 0.8)
        found.append((at[:-1][long] + FRESH, at[1:][long]))
    spans = np.cumsum([0, *(len(since) for since, _ in found)])
    since, until = (np.concatenate(part) for part in zip(*found, strict=True))
    return MarketGaps(spans, since, until, np.zeros(len(since), np.int64))


def in_order(columns: Sequence[Quotes]) -> Quotes:
    """The quotes of all markets, by time and within an instant by market."""
    quotes = Quotes(
        **{
            name: np.concatenate([getattr(quotes, name) for quotes in columns])
            for name in QUOTE_COLUMNS
        }
    )
    return quotes.select(np.lexsort((quotes.market, quotes.at)))


def _truths(
    rng: np.random.Generator, markets: int, rows: int
) -> tuple[list[Floats], list[int | None]]:
    """The path of each market's probability, which ends near its outcome, and the outcome."""
    truths: list[Floats] = []
    winners: list[int | None] = []
    for first in range(0, markets, LEGS):
        walks = np.cumsum(rng.normal(0, 0.12, (LEGS, rows)), axis=1) + rng.normal(0, 1.2, (LEGS, 1))
        winner = int(rng.integers(LEGS))
        # The outcome shows in the last fifth.
        pull = np.clip((np.arange(rows) / rows - 0.8) * 30, 0, None)
        walks[winner] += pull
        if _exclusive(first):
            weights = np.exp(walks)
            # At times everybody bids too much, so that the legs' bids exceed a dollar.
            excess = np.where(_intervals(rng, rows, often=0.015, most=6), 1.15, 1.0)
            truths += list(weights / weights.sum(axis=0) * excess)
            winners += [int(leg == winner) for leg in range(LEGS)]
        else:
            truths += list(1 / (1 + np.exp(-walks)))
            winners += [1 if leg == winner else None for leg in range(LEGS)]
    return truths[:markets], winners[:markets]


def _exclusive(place: int) -> bool:
    return place // LEGS % 2 == 0


def _market(rng: np.random.Generator, place: int, truth: Floats) -> Quotes:
    """The rows of one market; a fifth of the instants have none, since nothing changed."""
    steps = np.flatnonzero(rng.random(len(truth)) < 0.8)
    steps = steps[steps >= rng.integers(0, len(truth) // 4)]
    chance, n = truth[steps], len(steps)
    at = START + steps * STEP
    bid, ask = _sides(rng, chance, GRIDS[place % len(GRIDS)])
    traded = np.where(rng.random(n) < 0.3, rng.integers(1, 50_000, n), 0)
    volume = np.where(rng.random(n) < 0.02, MISSING, np.cumsum(traded))
    last = np.where(rng.random(n) < 0.5, bid, ask)
    tradable = ~_intervals(rng, n, often=0.01, most=8)
    tradable[-1] = False
    return Quotes(
        at=at,
        market=np.full(n, place),
        bid=bid,
        ask=ask,
        bid_size=_sizes(rng, bid),
        ask_size=_sizes(rng, ask),
        last=_carried(np.where(traded > 0, last, MISSING)),
        volume=volume,
        close_at=_schedule(rng, at),
        tradable=tradable,
    )


def _sides(
    rng: np.random.Generator, chance: Floats, grid: tuple[tuple[int, int, int], ...]
) -> tuple[Ints, Ints]:
    n = len(chance)
    middle = chance * DOLLAR + rng.normal(0, 100, n)
    half = rng.integers(20, 250, n)
    bid, ask = _rounded(middle - half, grid, up=False), _rounded(middle + half, grid, up=True)
    odd = rng.random(n)
    ask = np.where(odd < 0.02, bid, ask)  # locked
    crossed = (odd > 0.02) & (odd < 0.03)
    bid, ask = np.where(crossed, ask, bid), np.where(crossed, bid, ask)
    return _some(rng, bid), _some(rng, ask)


def _some(rng: np.random.Generator, side: Ints) -> Ints:
    """Remove the prices that are out of range, and a random few of the others."""
    gone = (side <= 0) | (side >= DOLLAR) | (rng.random(len(side)) < 0.04)
    return np.where(gone, MISSING, side)


def _rounded(prices: Floats, grid: tuple[tuple[int, int, int], ...], *, up: bool) -> Ints:
    step = np.full(len(prices), grid[0][2] if grid else 100)
    for start, end, fine in grid:
        step = np.where((prices >= start) & (prices < end), fine, step)
    whole = np.ceil(prices / step) if up else np.floor(prices / step)
    rounded: Ints = np.clip((whole * step).astype(np.int64), 0, DOLLAR)
    return rounded


def _sizes(rng: np.random.Generator, side: Ints) -> Ints:
    n = len(side)
    # Sizes stay for three rows, so that what a run took can be missing from the next book.
    sizes = np.repeat(rng.integers(50, 40_000, n), 3)[:n]
    sizes = np.where(rng.random(n) < 0.5, sizes // 100 * 100 + 100, sizes)
    return np.where((side == MISSING) | (rng.random(n) < 0.05), MISSING, sizes)


def _intervals(rng: np.random.Generator, n: int, *, often: float, most: int) -> Bools:
    inside = np.zeros(n, dtype=np.bool_)
    for first in np.flatnonzero(rng.random(n) < often):
        inside[first : first + rng.integers(1, most)] = True
    return inside


def _carried(values: Ints) -> Ints:
    rows = np.maximum.accumulate(np.where(values == MISSING, 0, np.arange(len(values))))
    return values[rows]


def _schedule(rng: np.random.Generator, at: Ints) -> Ints:
    """The scheduled close: at first it may be unknown, and later it may change."""
    end, n = int(at[-1]), len(at)
    close_at = np.full(n, end)
    changed = int(rng.integers(n // 3, n))
    close_at[:changed] = end + rng.choice([0, 0, 6 * 3600 * SECOND, DAY])
    if rng.random() < 0.3:
        close_at[: n // 10] = MISSING
    return close_at


def _settlement(rng: np.random.Generator, quotes: Quotes, winner: int | None) -> Settlement:
    known_at = int(quotes.at[-1]) + int(rng.integers(1, 7_200)) * SECOND
    drawn = int(rng.choice(VALUES))
    return Settlement(
        known_at=known_at,
        paid_at=known_at + int(rng.integers(0, 7_200)) * SECOND,
        value=drawn if winner is None else winner * 1_000_000,
        assumed=bool(rng.random() < 0.2),
    )


def _listing(place: int) -> Listing:
    event = f"KXW{place // LEGS % 4}-26MAY{place // LEGS}"
    return Listing(
        ticker=f"{event}-T{place % LEGS}",
        event=event,
        series=event.partition("-")[0],
        category="Weather",
        mutually_exclusive=_exclusive(place),
        strike_type="greater",
        floor_strike=float(place % LEGS),
    )


def _terms(rng: np.random.Generator, rows: int) -> tuple[Terms, ...]:
    plain, half = Terms(0, 7, 100, 0, 1), Terms(0, 7, 200, 7, 800)
    changed = START + int(rng.integers(rows)) * STEP
    return (plain,) if rng.random() < 0.5 else (plain, half._replace(since=changed))


def _grids(place: int, rows: int) -> tuple[Grid, ...]:
    """The price grids of a market; market 1 is quoted on a fine grid that it has for a third.

    Resting orders stay when a grid gets coarser, so records hold such quotes.
    """
    if place != 1:
        return (Grid(0, GRIDS[place % len(GRIDS)]),)
    finer, coarser = (START + rows * third // 3 * STEP for third in (1, 2))
    return Grid(0, CENTS), Grid(finer, TAPERED), Grid(coarser, CENTS)
