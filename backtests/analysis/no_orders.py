"""The reasons why a run sent no order, as far as they can be counted."""

from collections.abc import Iterator
from typing import NamedTuple, Self

from backtests.annotations.conditions import ConditionCount
from backtests.annotations.run import Annotations
from backtests.data.first_observations import first_observations
from backtests.data.universe import MISSING, Universe
from backtests.rules.execution import ExecutionModel
from kalshi_insights.arrays import np


class RowCounts(NamedTuple):
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


def explain_no_orders(
    universe: Universe, execution: ExecutionModel, annotations: Annotations
) -> Iterator[str]:
    """State what stood in the way of orders."""
    rows = RowCounts.of(universe, execution)
    yield (
        f"No order was sent. Of {rows.rows:,} rows of quotes {rows.two_sided:,} had both sides,"
        f" {rows.trading:,} of these while the market was trading, and {rows.observed:,} of these"
        " were observed again in time for an order."
    )
    counts = annotations.conditions
    if counts:
        yield f"The strategy's own conditions held: {'; '.join(map(_counted, counts))}."


def _counted(count: ConditionCount) -> str:
    words = f"{count.name}, {count.held:,} of {count.asked:,} times"
    if count.held_with_earlier is None or count.held_with_earlier == count.held:
        return words
    return f"{words}, {count.held_with_earlier:,} with those before it"
