"""Simulated markets as a recorder has them that stops now and then."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from backtests.data.causes import CAUSES
from backtests.data.gaps import MarketGaps
from backtests.data.universe import SECOND, Ints, Quotes, Universe
from backtests.tests.random_universes import in_order
from markets.observed import ObservedInstants
from markets.simulator.cadence import STEP

FRESH = 3 * STEP * SECOND
OUR_OUTAGE = CAUSES.index("our outage")
BOOK = ("bid", "ask", "bid_size", "ask_size")


def with_outages(universe: Universe, outages: Sequence[tuple[int, int]]) -> Universe:
    """The same markets if nobody had looked from the start of each outage on and before its end.

    Each market's last row ends its trading, of which its schedule told. The outages are sorted,
    and end with looks.
    """
    starts, ends = np.array(outages, np.int64).reshape(-1, 2).T
    quotes = universe.quotes
    order = np.argsort(quotes.market, kind="stable")
    cuts = np.searchsorted(quotes.market[order], np.arange(1, len(universe.listings)))
    rows = [_seen(quotes.select(own), starts, ends) for own in np.split(order, cuts)]
    observed = _looks(universe.observations(), starts, ends)
    ended = np.array([own.at[-1] for own in rows])
    return replace(universe, quotes=in_order(rows), observed=observed, gaps=_gaps(observed, ended))


def _missed(at: Ints, starts: Ints, ends: Ints) -> tuple[np.ndarray, Ints]:
    """Return which instants lie in an outage, and the end of the first one that ends later."""
    number = np.searchsorted(ends, at, side="right")
    inside = number < len(ends)
    inside[inside] = at[inside] >= starts[number[inside]]
    return inside, np.append(ends, 0)[number]


def _seen(own: Quotes, starts: Ints, ends: Ints) -> Quotes:
    """The rows of one market: a look after an outage shows the last one of those that it missed."""
    missed, next_look = _missed(own.at, starts, ends)
    ends_unseen = bool(missed[-1])
    missed[-1] = False
    at = np.where(missed, next_look, own.at)
    kept = (at <= at[-1]) & np.append(at[1:] != at[:-1], True)
    seen = replace(own, at=at).select(kept)
    if ends_unseen and len(seen) > 1:
        # Its end shows no book that nobody saw.
        columns = {name: getattr(seen, name) for name in BOOK}
        seen = replace(seen, **{n: np.append(c[:-1], c[-2]) for n, c in columns.items()})
    return seen


def _looks(observed: ObservedInstants, starts: Ints, ends: Ints) -> ObservedInstants:
    missed, _ = _missed(observed.instants, starts, ends)
    before = np.append(0, np.cumsum(~missed))
    return observed._replace(
        instants=observed.instants[~missed],
        runs=observed.runs[~missed],
        starts=before[observed.starts],
    )


def _gaps(observed: ObservedInstants, ended: Ints) -> MarketGaps:
    """The gaps between looks, and from a market's last look to its end."""
    counts, columns = [0], []
    for market, end in enumerate(ended):
        stale = observed.of_market(market) + FRESH
        until = np.append(stale[1:] - FRESH, end)[: len(stale)]
        late = stale < until
        counts.append(int(late.sum()))
        columns.append(np.stack((stale[late], until[late])))
    since, until = np.concatenate(columns, axis=1)
    return MarketGaps(np.cumsum(counts), since, until, np.full(len(since), OUR_OUTAGE))
