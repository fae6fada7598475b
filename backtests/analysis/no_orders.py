"""The rows on which a run that sent no order could have sent one."""

from typing import NamedTuple, Self

from backtests.data.first_observations import first_observations
from backtests.data.timeline import BOOK
from backtests.data.universe import MISSING, Bools, Ints, Quotes, Universe
from backtests.rules.execution import ExecutionModel
from kalshi_insights.arrays import np


class QuoteCounts(NamedTuple):
    """Rows of quotes, each count among those of the one before it: with both sides, of a market
    that traded, and observed again in time for an order that was sent there."""

    rows: int
    two_sided: int
    trading: int
    observed: int

    @classmethod
    def of(cls, universe: Universe, execution: ExecutionModel) -> Self:
        quotes = universe.quotes.select(_are_quotes(universe.quotes))
        two_sided = (quotes.bid != MISSING) & (quotes.ask != MISSING)
        trading = np.flatnonzero(two_sided & quotes.tradable)
        arrival = quotes.at[trading] + execution.latency
        observed = first_observations(universe.observations(), quotes.market[trading], arrival)
        in_time = observed <= arrival + execution.patience
        return cls(len(quotes), int(two_sided.sum()), len(trading), int(in_time.sum()))


def _are_quotes(quotes: Quotes) -> Bools:
    """Return which rows are quotes: others repeat the book where trading ended or went on, or where
    the close was known to have moved."""
    order = np.argsort(quotes.market, kind="stable")
    repeats = _as_before(quotes.market[order])
    for name in BOOK:
        repeats &= _as_before(getattr(quotes, name)[order])
    changed = ~_as_before(quotes.tradable[order]) | ~_as_before(quotes.close_at[order])
    found = np.empty(len(order), np.bool_)
    found[order] = ~(repeats & changed)
    return found


def _as_before(values: Ints | Bools) -> Bools:
    return np.append(False, values[1:] == values[:-1])[: len(values)]


def explain_no_orders(universe: Universe, execution: ExecutionModel) -> str:
    """State what stood in the way of orders, whatever the strategy."""
    rows = QuoteCounts.of(universe, execution)
    return (
        f"No order was sent. Rows of quotes: {rows.rows:,}; with both sides: {rows.two_sided:,}; of"
        f" these while the market was trading: {rows.trading:,}; and observed again in time for an"
        f" order: {rows.observed:,}."
    )
