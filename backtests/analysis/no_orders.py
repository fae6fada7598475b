"""The rows on which a run that sent no order could have sent one."""

from typing import NamedTuple, Self

from backtests.data.first_observations import first_observations
from backtests.data.universe import MISSING, Universe
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
        quotes = universe.quotes
        two_sided = (quotes.bid != MISSING) & (quotes.ask != MISSING)
        trading = np.flatnonzero(two_sided & quotes.tradable)
        arrival = quotes.at[trading] + execution.latency
        observed = first_observations(universe.observations(), quotes.market[trading], arrival)
        in_time = observed <= arrival + execution.patience
        return cls(len(quotes), int(two_sided.sum()), len(trading), int(in_time.sum()))


def explain_no_orders(universe: Universe, execution: ExecutionModel) -> str:
    """State what stood in the way of orders, whatever the strategy."""
    rows = QuoteCounts.of(universe, execution)
    return (
        f"No order was sent. Rows of quotes: {rows.rows:,}; with both sides: {rows.two_sided:,}; of"
        f" these while the market was trading: {rows.trading:,}; and observed again in time for an"
        f" order: {rows.observed:,}."
    )
