"""A backtrader broker over the matching engine of a run."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from functools import partial
from typing import Any

import backtrader as bt

from backtests.annotations.reasons import reason_of
from backtests.data.universe import (
    CONTRACT,
    DAY,
    DOLLAR,
    EPOCH_DAY,
    MISSING,
    MONEY,
    Universe,
)
from backtests.engine.event_driven.exchange_fees import ExchangeFees
from backtests.engine.event_driven.feed import Feed
from backtests.engine.event_driven.fixed_settings import FixedSettings
from backtests.engine.event_driven.instructions import (
    BadOrder,
    Instructions,
    LimitPrice,
    count_of,
    expiration,
    limit_price,
)
from backtests.engine.event_driven.known_record import KnownRecord
from backtests.engine.event_driven.order_book import Book
from backtests.engine.event_driven.orders import Ticket
from backtests.engine.event_driven.sent_orders import OrderOfAnyMarket, SentBuy, SentSell
from backtests.engine.event_driven.settlements import SettlementNotice
from backtests.rules.execution import REASONS, ExecutionModel, FillModel, Reason
from backtests.rules.ledger import BUY, SELL, Holding
from markets.observed import AFTER_ALL


class Broker(FixedSettings, bt.BrokerBase, KnownRecord):
    """Takes the orders of a backtrader strategy, and reports to it in backtrader's words."""

    def __init__(
        self, universe: Universe, execution: ExecutionModel, *, fills: FillModel, cash: int
    ) -> None:
        bt.BrokerBase.__init__(self)
        KnownRecord.__init__(self, universe, execution, fills=fills, cash=cash)
        self.startingcash = cash / MONEY  # as backtrader calls it
        self._notifications: deque[Any] = deque()
        self.settled: list[SettlementNotice] = []  # those that the strategy has not heard of
        self._fees: dict[int, ExchangeFees] = {}
        self._unsent: dict[str, tuple[str, int]] = {}
        self.is_over = False  # no order is sent any more

    # --- backtrader's interface -----------------------------------------------------------------

    def buy(self, owner: Any, data: Feed, size: float, **how: Any) -> Any:
        return self._send(SentBuy, owner, data, size, how)

    def sell(self, owner: Any, data: Feed, size: float, **how: Any) -> Any:
        return self._send(SentSell, owner, data, size, how)

    def _send(
        self, order_class: type[Any], owner: Any, data: Feed, size: float, how: dict[str, Any]
    ) -> Any:
        """Send an order of backtrader's; a market order takes the best price now, or nothing.

        Return None where the size rounds to nothing or the run is over. Raises BadOrder and
        TypeError.
        """
        book, side = self.book_of(data), BUY if order_class is SentBuy else SELL
        if not self.now:
            raise BadOrder("orders can be sent from the first step on, not in __init__ or start")
        tradeid = how.pop("tradeid", 0)
        asked = Instructions.read(self.now, **how)
        count = count_of(size)
        if not count:
            return self._leave_unsent("their sizes round to 0 contracts", data, size)
        if self.is_over:
            return self._leave_unsent("the run was over", data, size)
        limit, is_exact = asked.price or LimitPrice(book.top.price(side), is_exact=True)
        order = self._made_order(
            order_class,
            limit=limit,
            owner=owner,
            data=data,
            size=count / CONTRACT,
            exectype=bt.Order.Limit if asked.price else bt.Order.Market,
            tradeid=tradeid,
            expires=asked.expires,
        )
        ticket = self.send_order(
            book,
            side,
            count,
            limit=limit,
            rests=asked.rests,
            post_only=asked.post_only,
            prevention=asked.prevention,
            price_is_exact=is_exact,
            reduce_only=asked.reduce_only,
            expires=asked.expires,
            refused=_reason_known(book, limit),
            order=order,
        )
        self.annotator.note_order(ticket.number, book.market, asked.reason)
        return order

    def book_of(self, data: Any) -> Book:
        """The book of a feed. Raises BadOrder for what is no feed."""
        if not isinstance(data, Feed):
            raise BadOrder(f"data must be a feed, not {data!r}")
        return self.books[data.market]

    def check_instructions(self, data: Any, how: dict[str, Any]) -> None:
        """Check the arguments of an order that is not sent like those of one that is.

        Raises BadOrder and TypeError.
        """
        self.book_of(data)
        Instructions.read(self.now, **{name: how[name] for name in how if name != "tradeid"})

    def replacement(self, order: Any, size: float, how: dict[str, Any]) -> dict[str, Any]:
        """The arguments, but for the size, of an order that is to take the place of another one:
        its kind, and the price of a limit order, where none is given.

        Raises BadOrder and TypeError for what could never be an order.
        """
        _ticket_of(order)
        asked = {"exectype": order.exectype, "tradeid": order.tradeid} | how
        if asked["price"] is None and asked["exectype"] == bt.Order.Limit:
            asked["price"] = order.created.price
        self.check_instructions(order.data, asked)
        if not count_of(size):
            raise BadOrder(f"size must be at least 0.01 contracts, not {size}: see cancel()")
        return asked

    def _leave_unsent(self, why: str, data: Feed, size: float) -> None:
        """Send no order, and say so in the result."""
        first, count = self._unsent.get(why, (f"{abs(size):g} of {data.listing.ticker}", 0))
        self._unsent[why] = first, count + 1
        self.notes[why] = (
            f"Orders not sent, since {why}: {count + 1:,}; the first one was for {first}."
        )

    def cancel(self, order: Any) -> None:
        """Send a cancellation. Raises BadOrder for what is no order."""
        ticket = _ticket_of(order)
        self.request_cancel(self.books[order.data.market], ticket)

    def amend(
        self,
        order: Any,
        *,
        size: float | None = None,
        price: float | None = None,
        valid: Any = None,
        reason: str | None = None,
    ) -> Any:
        """Send an amendment of an order at rest to so many contracts in all, filled ones included,
        to another price or to another expiration; return the order that is to take its place. It
        keeps the reason of the order that it amends unless another one is given.

        One of an order that is over is sent as well, and refused when it arrives. Raises BadOrder
        for what could never be an order.
        """
        ticket = _ticket_of(order)
        book = self.books[order.data.market]
        _require_amendment(ticket, size, price, valid)
        if self.is_over:
            return self._leave_unsent("the run was over", order.data, order.size)
        count = _count_asked(order, size, is_over=book.is_over(ticket))
        kept = LimitPrice(ticket.limit, ticket.price_is_exact)
        limit, is_exact = kept if price is None else limit_price(price)
        expires = ticket.expires if valid is None else expiration(valid, self.now)
        kept_reason = self.annotator.reason_of(ticket.number)
        stated = kept_reason if reason is None else reason_of(reason)
        amended = self._made_order(
            type(order),
            limit=limit,
            owner=order.owner,
            data=order.data,
            size=count / CONTRACT,
            exectype=bt.Order.Limit,
            tradeid=order.tradeid,
            expires=expires,
        )
        sent = self.send_amendment(
            book,
            ticket,
            count,
            size=None if size is None else count_of(size),
            limit=limit,
            is_exact=is_exact,
            expires=expires,
            order=amended,
        )
        self.annotator.note_order(sent.number, book.market, stated)
        return amended

    def _made_order(self, order_class: type[Any], *, limit: int, expires: int, **given: Any) -> Any:
        """Make an order of backtrader's, which reports to a strategy."""
        order = order_class(price=None if limit == MISSING else limit / DOLLAR, **given)
        # As a number of days, which is what backtrader makes of any `valid`.
        order.valid = None if expires == AFTER_ALL else EPOCH_DAY + expires / DAY
        order.created.dt = self._days_now
        order.addcomminfo(self.getcommissioninfo(given["data"]))
        return order

    @property
    def _days_now(self) -> float:
        """The instant of now as backtrader counts it; a feed tells that of its newest bar."""
        return EPOCH_DAY + self.now / DAY

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
        bought = price if side > 0 else DOLLAR - price  # a contract of the side that it buys
        order.execute(
            self._days_now,
            side * count,
            price / DOLLAR,
            side * closing,
            # As in backtrader, what was closed counts with the cost of its opening.
            (closing * (DOLLAR - bought) - realised) / MONEY,
            fee / MONEY * share,
            side * (count - closing),
            (count - closing) * bought / MONEY,
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
            if status == bt.Order.Submitted:
                ticket.order.ticket = ticket
                ticket.order.submit(self)
            if ticket.reason:
                ticket.order.addinfo(reason=REASONS[ticket.reason])
            ticket.order.status = status
            self._notifications.append(ticket.order.clone())

    def _report_settlement(self, book: Book, value: int, paid: int) -> None:
        self.settled.append(SettlementNotice(book.feed, value / MONEY, paid / MONEY))

    def getcash(self) -> float:
        return self.ledger.cash / MONEY

    def getvalue(self, datas: Iterable[Feed] | None = None) -> float:
        """Cash and positions in dollars, marked at the side they could be sold to; of some feeds
        their positions alone."""
        if datas is None:
            worth = self.ledger.worth(lambda market, position: self.books[market].mark(position))
        else:
            worth = sum(map(self._worth_of, {self.book_of(data).market for data in datas}))
        return worth / MONEY

    def _worth_of(self, market: int) -> int:
        position = self.ledger.position(market)
        return abs(position) * self.books[market].mark(position)

    get_cash, get_value = getcash, getvalue

    def get_fundvalue(self) -> float:
        return self.getvalue()

    def get_leverage(self) -> float:
        return 1.0

    def getcommissioninfo(self, data: Feed) -> ExchangeFees:
        """The fees of a feed's market in backtrader's words."""
        book = self.book_of(data)
        if book.market not in self._fees:
            self._fees[book.market] = ExchangeFees(partial(self.most_fee, book))
        return self._fees[book.market]

    def getposition(self, data: Feed) -> bt.Position:
        """Contracts, positive for YES and negative for NO, with the average price at which they
        were bought or sold: on the YES scale, as the prices of orders are."""
        holding = self.ledger.holdings.get(self.book_of(data).market)
        return bt.Position() if holding is None else _position_of(holding)

    @property
    def positions(self) -> defaultdict[Feed, bt.Position]:
        """The position in each feed."""
        held = self.ledger.holdings.items()
        found = {self.books[market].feed: _position_of(holding) for market, holding in held}
        return defaultdict(bt.Position, found)

    def get_orders_open(self, safe: bool = False) -> list[Any]:
        """The orders of the strategy that are on their way or at rest, the oldest first; copies of
        them where `safe`."""
        orders = [each.order for each in self.open_orders()]
        return [order.clone() for order in orders] if safe else orders

    def orderstatus(self, order: Any) -> int:
        """The status of an order now, also of one that a notification brought."""
        return int(_ticket_of(order).order.status)

    def get_notification(self) -> Any:
        return self._notifications.popleft() if self._notifications else None


def _require_amendment(ticket: Ticket, *changes: object) -> None:
    """Raise BadOrder where an order cannot be amended, or nothing of it is to change."""
    if not ticket.rests:
        raise BadOrder("only an order that may rest can be amended")
    if all(change is None for change in changes):
        raise BadOrder("an amendment needs a size or price, or valid")


def _count_asked(order: Any, size: float | None, *, is_over: bool) -> int:
    """Return the contracts that an amended order is to have left, in 1/100.

    Of an order that is over nothing can be left, so that is all that was asked for.
    """
    if size is None:
        left: int = round(abs(order.created.size) * CONTRACT) if is_over else order.ticket.left
        return left
    filled = 0 if is_over else order.ticket.filled
    count = count_of(size) - filled
    if count <= 0:
        contracts = f"{filled / CONTRACT:g} contracts"
        raise BadOrder(f"size must be more than the {contracts} that are filled, not {size}")
    return count


def _ticket_of(order: Any) -> Ticket:
    """The engine's side of an order. Raises BadOrder for what no `buy` or `sell` returned."""
    if not isinstance(order, OrderOfAnyMarket):
        raise BadOrder(f"an order must be one that buy() or sell() returned, not {order!r}")
    return order.ticket


def _reason_known(book: Book, limit: int) -> Reason:
    """The reason for which an order is sure to be refused."""
    if not book.feed.has_begun:
        return Reason.NOT_BEGUN
    return Reason.NO_OFFER if limit == MISSING else Reason.NONE


def _position_of(holding: Holding) -> bt.Position:
    """A holding in backtrader's words; the cost of NO is what a dollar exceeds its price by."""
    size, cost = holding.position / CONTRACT, holding.cost / abs(holding.position) / DOLLAR
    return bt.Position(size, cost if size > 0 else 1 - cost)
