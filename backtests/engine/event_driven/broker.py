"""A backtrader broker over the matching engine of a run."""

from __future__ import annotations

from collections import deque
from functools import cached_property
from typing import Any

import backtrader as bt

from backtests.data.tape import KnownTrades, TapeTrade
from backtests.data.universe import CONTRACT, DOLLAR, MONEY, Universe
from backtests.engine.event_driven.feed import Feed
from backtests.engine.event_driven.matching_engine import MatchingEngine
from backtests.engine.event_driven.orders import Ticket
from backtests.rules.execution import REASONS, ExecutionModel, FillModel, SelfTradePrevention
from backtests.rules.ledger import BUY, SELL
from markets.observed import last_observation

PRICE_TOLERANCE = 1e-6  # price units by which the float of a price on the grid may be off


class Broker(bt.BrokerBase, MatchingEngine):
    """Takes the orders of a backtrader strategy, and reports to it in backtrader's words."""

    def __init__(
        self, universe: Universe, execution: ExecutionModel, *, fills: FillModel, cash: int
    ) -> None:
        bt.BrokerBase.__init__(self)
        MatchingEngine.__init__(self, universe, execution, fills=fills, cash=cash)
        self.startingcash = cash / MONEY  # as backtrader calls it
        self._notifications: deque[Any] = deque()

    # --- what a strategy may see ----------------------------------------------------------------

    @property
    def live(self) -> list[Feed]:
        """The feeds that have begun and whose market is trading and was observed lately."""
        return self._live_feeds.at(self.now)

    @property
    def fresh(self) -> list[Feed]:
        """The live feeds with a row at this instant."""
        return [book.feed for book in self.rows if book.is_open]

    def observed_at(self, market: int) -> int:
        """The last observation of a market; `BEFORE_ALL` where there is none yet."""
        return int(last_observation(self.observed, market, self.now + 1))

    def trades(self, market: int, since: int) -> list[TapeTrade]:
        """The trades of a market that the record knows by now, and did not at an instant."""
        return self._known_trades.between(market, since, self.now)

    @cached_property
    def _known_trades(self) -> KnownTrades:
        return KnownTrades(self.universe.known_tape())

    # --- backtrader's interface -----------------------------------------------------------------

    def buy(
        self, owner: Any, data: Feed, size: float, price: float | None = None, **how: Any
    ) -> Any:
        return self._send(bt.order.BuyOrder, owner, data, size, price=price, **how)

    def sell(
        self, owner: Any, data: Feed, size: float, price: float | None = None, **how: Any
    ) -> Any:
        return self._send(bt.order.SellOrder, owner, data, size, price=price, **how)

    def _send(
        self,
        order_class: type[Any],
        owner: Any,
        data: Feed,
        size: float,
        *,
        price: float | None,
        exectype: int | None = None,
        tif: str = "gtc",
        post_only: bool = False,
        self_trade_prevention: str = SelfTradePrevention.TAKER_AT_CROSS,
        **_: Any,
    ) -> Any:
        """Send an order of backtrader's; a market order takes the best price now, or nothing."""
        if exectype not in (None, bt.Order.Market, bt.Order.Limit):
            raise ValueError("only limit orders exist on Kalshi: use exectype Market or Limit")
        if tif not in ("gtc", "ioc"):
            raise ValueError(f"tif must be 'gtc' or 'ioc', not {tif!r}")
        book, side = self.books[data.market], BUY if order_class is bt.order.BuyOrder else SELL
        rests = exectype == bt.Order.Limit and tif == "gtc"
        given = price if exectype == bt.Order.Limit else None
        limit = book.top.price(side) if given is None else round(given * DOLLAR)
        order = self._made_order(
            order_class, limit=limit, owner=owner, data=data, size=size, exectype=exectype
        )
        ticket = self.send_order(
            book,
            side,
            round(size * CONTRACT),
            limit=limit,
            rests=rests,
            post_only=post_only,
            prevention=SelfTradePrevention(self_trade_prevention),
            price_is_exact=given is None or _is_exact(given, limit),
            order=order,
        )
        order.ticket = ticket
        return order

    def cancel(self, order: Any) -> None:
        self.request_cancel(self.books[order.data.market], order.ticket)

    def amend(self, order: Any, *, size: float | None = None, price: float | None = None) -> Any:
        """Send an amendment of an order at rest to so many contracts in all, filled ones included,
        or to another price; return the order that is to take its place.

        One of an order that is over is sent as well, and refused when it arrives. Raises
        ValueError for what could never be an order.
        """
        book, ticket = self.books[order.data.market], order.ticket
        if not ticket.rests:
            raise ValueError("only an order that may rest can be amended")
        if size is None and price is None:
            raise ValueError("an amendment needs a size or price")
        count = _count_asked(order, size, is_over=book.is_over(ticket))
        limit = ticket.limit if price is None else round(price * DOLLAR)
        if not 0 < limit < DOLLAR:
            raise ValueError(f"price must be between 0 and 1 dollar, not {price}")
        amended = self._made_order(
            type(order),
            limit=limit,
            owner=order.owner,
            data=order.data,
            size=count / CONTRACT,
            exectype=bt.Order.Limit,
        )
        amended.ticket = self.send_amendment(
            book,
            ticket,
            count,
            size=None if size is None else round(size * CONTRACT),
            limit=limit,
            is_exact=ticket.price_is_exact if price is None else _is_exact(price, limit),
            order=amended,
        )
        return amended

    def _made_order(self, order_class: type[Any], *, limit: int, **given: Any) -> Any:
        """Make an order of backtrader's, which reports to a strategy."""
        order = order_class(price=limit / DOLLAR, **given)
        order.addcomminfo(self.getcommissioninfo(given["data"]))
        return order

    def _execute(
        self, ticket: Ticket, count: int, closing: int, *, price: int, fee: int, realised: int
    ) -> None:
        """Report a fill to backtrader, in its floats."""
        super()._execute(ticket, count, closing, price=price, fee=fee, realised=realised)
        if ticket.order is None:
            return
        order, side = ticket.order, ticket.side / CONTRACT
        share = closing / count
        position = self.getposition(order.data)
        paid = count * price / MONEY
        order.execute(
            order.data.datetime[0],
            side * count,
            price / DOLLAR,
            side * closing,
            paid * share,
            fee / MONEY * share,
            side * (count - closing),
            paid * (1 - share),
            fee / MONEY * (1 - share),
            None,
            realised / MONEY,
            position.size,
            position.price,
        )
        self._report(ticket, bt.Order.Partial if ticket.left else bt.Order.Completed)

    def _report(self, ticket: Ticket, status: int) -> None:
        super()._report(ticket, status)
        if ticket.order is not None:
            if ticket.reason:
                ticket.order.addinfo(reason=REASONS[ticket.reason])
            ticket.order.status = status
            self._notifications.append(ticket.order.clone())

    def getcash(self) -> float:
        return self.ledger.cash / MONEY

    def getvalue(self, datas: Any = None) -> float:
        """Cash and positions in dollars, marked at the side they could be sold to."""
        worth = self.ledger.worth(lambda market, position: self.books[market].mark(position))
        return worth / MONEY

    def getposition(self, data: Feed) -> bt.Position:
        """Contracts, positive for YES and negative for NO, with the cost of one as their price."""
        holding = self.ledger.holdings.get(data.market)
        if holding is None:
            return bt.Position()
        return bt.Position(
            holding.position / CONTRACT, holding.cost / abs(holding.position) / DOLLAR
        )

    def get_notification(self) -> Any:
        return self._notifications.popleft() if self._notifications else None


def _count_asked(order: Any, size: float | None, *, is_over: bool) -> int:
    """Return the contracts that an amended order is to have left, in 1/100.

    Of an order that is over nothing can be left, so that is all that was asked for.
    """
    if size is None:
        left: int = round(abs(order.created.size) * CONTRACT) if is_over else order.ticket.left
        return left
    filled = 0 if is_over else order.ticket.filled
    count = round(size * CONTRACT) - filled
    if count <= 0:
        contracts = f"{filled / CONTRACT:g} contracts"
        raise ValueError(f"size must be more than the {contracts} that are filled, not {size}")
    return count


def _is_exact(price: float, limit: int) -> bool:
    """Return whether a limit is the price that was given, and not rounded."""
    return abs(price * DOLLAR - limit) < PRICE_TOLERANCE
