"""Decision points: more rows to decide on, at observations that showed the same book again."""

from dataclasses import replace
from typing import NamedTuple

from backtests.data.universe import SECOND, Bools, Ints, Universe
from kalshi_insights.arrays import np


class DecisionPoints(NamedTuple):
    """A universe with further rows, each of which repeats the book of the row before it.

    `rows` has for each of its rows the row of the original that it is, or repeats.
    """

    universe: Universe
    rows: Ints


def with_decision_points(universe: Universe, every: float | None) -> DecisionPoints:
    """Add rows at observations that are at least `every` seconds after the row before them.

    A market that was not trading gets none.
    """
    rows = np.arange(len(universe.quotes))
    if every is None:
        return DecisionPoints(universe, rows)
    repeated, at = _points(universe, max(1, round(every * SECOND)))
    rows, at = np.concatenate((rows, repeated)), np.concatenate((universe.quotes.at, at))
    order = np.lexsort((universe.quotes.market[rows], at))
    rows, at = rows[order], at[order]
    quotes = replace(universe.quotes.select(rows), at=at)
    return DecisionPoints(replace(universe, quotes=quotes, observed=universe.observations()), rows)


def _points(universe: Universe, every: int) -> tuple[Ints, Ints]:
    """The rows to repeat, and the instants at which to repeat them."""
    quotes, observed = universe.quotes, universe.observations()
    order = np.argsort(quotes.market, kind="stable")
    starts = np.searchsorted(quotes.market[order], np.arange(len(universe.listings) + 1))
    repeated, instants = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for market in range(len(universe.listings)):
        own = order[starts[market] : starts[market + 1]]
        looks = observed.of_market(market)
        numbers, places = _places(quotes.at[own], quotes.tradable[own], looks, every)
        repeated.append(own[numbers])
        instants.append(looks[places])
    return np.concatenate(repeated), np.concatenate(instants)


def _places(at: Ints, tradable: Bools, looks: Ints, every: int) -> tuple[list[int], list[int]]:
    """The rows of one market to repeat, and the places in `looks` at which to repeat them."""
    first = np.searchsorted(looks, at + every)
    end = np.append(np.searchsorted(looks, at[1:]), len(looks))[: len(at)]
    following = np.searchsorted(looks, looks + every).tolist()
    rows, places = [], []
    for row in np.flatnonzero(tradable & (first < end)).tolist():
        place = int(first[row])
        while place < end[row]:
            rows.append(row)
            places.append(place)
            place = following[place]
    return rows, places
