"""Decision points: more rows to decide on, at observations that showed the same book again."""

from dataclasses import replace
from typing import NamedTuple

from backtests.data.first_observations import first_observations
from backtests.data.universe import SECOND, Ints, Universe
from kalshi_insights.arrays import np
from markets.observed import AFTER_ALL


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
    """The rows to repeat, and the instants at which to repeat them, all rows a step at a time."""
    quotes, observed = universe.quotes, universe.observations()
    order = np.argsort(quotes.market, kind="stable")
    market, at = quotes.market[order], quotes.at[order]
    is_last = np.append(market[1:] != market[:-1], True)[: len(at)]
    until = np.where(is_last, AFTER_ALL, np.append(at[1:], AFTER_ALL)[: len(at)])
    waiting = np.flatnonzero(quotes.tradable[order] & (until - at > every))
    repeated, instants = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    before = at[waiting]
    while len(waiting):
        looks = first_observations(observed, market[waiting], before + every)
        found = looks < until[waiting]
        waiting, before = waiting[found], looks[found]
        repeated.append(order[waiting])
        instants.append(before)
    return np.concatenate(repeated), np.concatenate(instants)
