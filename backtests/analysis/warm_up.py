"""Warming up: load the engines and compile the kernel before the first run is waiting for them."""

import numpy as np

from backtests.analysis.evaluation import Evaluation
from backtests.data.universe import MISSING, MONEY, SECOND, Grid, Listing, Quotes, Terms, Universe
from backtests.rules.execution import ExecutionModel
from backtests.strategies.always_no import AlwaysNo
from backtests.strategies.do_nothing import DoNothing

CASH = 100 * MONEY


def warm_up() -> None:
    """Run both engines on two quotes, and compute all figures.

    It takes as long as the kernel takes to compile, or to be read where it has been compiled.
    """
    for strategy, in_kernel in ((AlwaysNo, True), (DoNothing, False)):
        Evaluation(
            universe=_two_quotes(),
            strategy=strategy,
            params={name: parameter.default for name, parameter in strategy.schema.items()},
            execution=ExecutionModel(),
            cash=CASH,
            start=0,
            end=120 * SECOND,
            in_kernel=in_kernel,
        ).results(lambda share, doing: None)


def _two_quotes() -> Universe:
    def column(first: int, second: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        return np.array([first, second], np.int64)

    quotes = Quotes(
        at=column(0, 60 * SECOND),
        market=column(0, 0),
        bid=column(4_000, 4_100),
        ask=column(4_200, 4_300),
        bid_size=column(10_000, 10_000),
        ask_size=column(10_000, 10_000),
        last=column(MISSING, MISSING),
        volume=column(MISSING, MISSING),
        close_at=column(MISSING, MISSING),
        tradable=np.array([True, True]),
    )
    terms = Terms(0, 7, 100, 0, 1)
    return Universe(
        quotes, [Listing(ticker="WARM-UP", event="WARM")], [None], [[terms]], [[Grid(0)]]
    )
