"""backtrader's orders, as they are reported to a strategy."""

from typing import Any, NoReturn

import backtrader as bt

from backtests.engine.event_driven.instructions import BadOrder
from backtests.engine.event_driven.orders import Ticket


class OrderOfAnyMarket:
    """Lets an order exist in a market that has not begun, where the exchange refuses it.

    Of such a market there is no bar, which backtrader reads unless an order is simulated.
    """

    data: Any
    p: Any
    ticket: Ticket  # the engine's side of it, once it is submitted

    def __init__(self) -> None:
        self.p.simulated = not len(self.data)
        super().__init__()
        self.p.simulated = False

    def cancel(self) -> NoReturn:
        """Refuse what in backtrader only marks the object."""
        raise BadOrder("order.cancel() tells the exchange nothing: use self.cancel(order)")


class SentBuy(OrderOfAnyMarket, bt.order.BuyOrder):
    """An order to buy YES."""


class SentSell(OrderOfAnyMarket, bt.order.SellOrder):
    """An order to sell YES, or to buy NO."""
