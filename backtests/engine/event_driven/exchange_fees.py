"""The fees of a market in the words of backtrader's commission schemes."""

from collections.abc import Callable

import backtrader as bt

from backtests.data.universe import CONTRACT, DOLLAR, MONEY


class ExchangeFees(bt.CommInfoBase):
    """Tells sizers and strategies the costs of contracts: the fees are the exchange's.

    A size below zero means NO, whose price is a dollar less that of YES.
    """

    params = (("stocklike", True), ("percabs", True))

    def __init__(self, most_fee: Callable[[int, int], int]) -> None:
        """`most_fee` is the most that a count costs in fees now, at a price in units."""
        super().__init__()
        self.most_fee = most_fee

    def getoperationcost(self, size: float, price: float) -> float:
        """The dollars that so many contracts cost, before fees."""
        return abs(size) * (price if size >= 0 else 1 - price)

    def _getcommission(self, size: float, price: float, pseudoexec: bool) -> float:
        """The most that a taker pays in fees now, in dollars."""
        count, limit = round(abs(size) * CONTRACT), round(price * DOLLAR)
        return self.most_fee(count, limit) / MONEY if count else 0.0
