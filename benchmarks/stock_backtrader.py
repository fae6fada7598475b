"""The crossing of two moving averages in stock backtrader, with its broker and observers."""

import backtrader as bt
import pandas as pd

from backtests.data.universe import CONTRACT, Quotes
from benchmarks.moving_averages import Crosses, run_measured


class Stock(Crosses, bt.Strategy):  # type: ignore[misc]
    def __init__(self) -> None:
        self.watch(self.data.close)


def crossing(quotes: Quotes) -> list[int]:
    cents = (quotes.bid + quotes.ask) / 2 / CONTRACT
    columns = dict.fromkeys(("open", "high", "low", "close"), cents)
    table = pd.DataFrame(columns, pd.to_datetime(quotes.at, unit="us"))
    cerebro = bt.Cerebro()
    cerebro.adddata(bt.feeds.PandasData(dataname=table))
    cerebro.addstrategy(Stock)
    rows: list[int] = cerebro.run()[0].rows
    return rows


if __name__ == "__main__":
    run_measured(crossing)
