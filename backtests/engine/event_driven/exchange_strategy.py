"""backtrader's strategy, as far as an exchange has what it asks for."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from inspect import signature
from typing import Any

import backtrader as bt

from backtests.annotations.analyses import ANALYZER_ERRORS, failed
from backtests.data.universe import DAY, EPOCH_DAY
from backtests.engine.event_driven.feed import Feed
from backtests.engine.event_driven.instructions import BadOrder, finite, limit_price
from backtests.engine.event_driven.settlements import SettlementNotice

# Methods of backtrader's that nothing calls here.
NEVER_CALLED = ("next_open", "nextstart_open", "prenext_open")


class ExchangeStrategy(bt.Strategy):
    """Sizes orders by the cost of YES and NO, closes trades at settlement, and refuses with words
    what an exchange without stop orders, parents and sessions does not have."""

    # --- orders ---------------------------------------------------------------------------------

    def buy(self, *given: Any, **how: Any) -> Any:
        return self._or_checked(super().buy(*given, **how), bt.Strategy.buy, given, how)

    def sell(self, *given: Any, **how: Any) -> Any:
        return self._or_checked(super().sell(*given, **how), bt.Strategy.sell, given, how)

    def close(self, *given: Any, **how: Any) -> Any:
        return self._or_checked(super().close(*given, **how), bt.Strategy.close, given, how)

    def _or_checked(
        self, sent: Any, method: Callable[..., Any], given: tuple[Any, ...], how: dict[str, Any]
    ) -> Any:
        """Return the order that was sent; without one, check its arguments all the same."""
        if sent is None:
            asked = signature(method).bind(self, *given, **how).arguments
            asked |= asked.pop("kwargs", {})
            instructions = {n: asked[n] for n in asked if n not in ("self", "data", "size")}
            self.broker.check_instructions(self._feed(asked.get("data")), instructions)
        return sent

    def buy_bracket(self, *given: Any, **how: Any) -> Any:
        return super().buy_bracket(*given, **_without_exits("buy_bracket", how))

    def sell_bracket(self, *given: Any, **how: Any) -> Any:
        return super().sell_bracket(*given, **_without_exits("sell_bracket", how))

    def order_target_size(self, data: Any = None, target: float = 0, **how: Any) -> Any:
        finite("target", target)
        sent = super().order_target_size(data=data, target=target, **how)
        return self._or_checked(sent, bt.Strategy.order_target_size, (data,), how)

    def order_target_value(
        self, data: Any = None, target: float = 0.0, price: float | None = None, **how: Any
    ) -> Any:
        """Order towards a value in dollars: of YES, or of NO if it is negative.

        A contract of YES counts with `price`, the newest midpoint without one, and a contract of
        NO with what a dollar exceeds it by. As in backtrader, sizes are rounded down, and an order
        without `exectype` is a market order, whatever `price` it was sized by.
        """
        feed = self._feed(data)
        held, wanted = self.getposition(feed).size, finite("target", target)
        if how.get("exectype") == bt.Order.Limit:
            how["price"] = price
        if not wanted:
            return self.close(data=feed, **how)
        size = _missing(held, wanted, _price_of(feed, price))
        send = self.buy if size > 0 else self.sell
        return send(data=feed, size=abs(size), **how)

    def getsizing(self, data: Any = None, isbuy: bool = True) -> Any:
        try:
            return super().getsizing(data, isbuy=isbuy)
        except IndexError:
            # The sizer read the newest bar, such as `PercentSizer` does.
            _refuse_unbegun(self.datas[0] if data is None else data)
            raise

    def getdatabyname(self, name: str) -> Any:
        if name not in self.env.datasbyname:
            raise BadOrder(f"no feed is called {name!r}")
        return super().getdatabyname(name)

    def _feed(self, data: Any) -> Feed:
        """The feed that a strategy names, as backtrader's methods find it."""
        if isinstance(data, str):
            data = self.getdatabyname(data)
        feed: Feed = self.data if data is None else data
        return feed

    # --- notifications --------------------------------------------------------------------------

    def _addnotification(self, order: Any, quicknotify: bool = False) -> None:
        before = len(self._tradespending)
        super()._addnotification(order, quicknotify)
        for told in self._tradespending[before:]:
            trades = self._trades[order.data][order.tradeid][-2:]
            for trade in (told, *(trade for trade in trades if trade.ref == told.ref)):
                # backtrader has taken the instant of the newest bar.
                if trade.isclosed:
                    trade.dtclose = order.executed.dt
                elif trade.justopened:
                    trade.dtopen = order.executed.dt

    def _notify(self, qorders: Sequence[Any] = (), qtrades: Sequence[Any] = ()) -> None:
        settled, self.broker.settled = self.broker.settled, []
        for notice in settled:
            self._close_trades(notice)
        bt.Strategy._notify(self)
        for notice in settled:
            self.notify_settlement(notice.feed, notice.value, notice.payout)

    def _close_trades(self, notice: SettlementNotice) -> None:
        """Close the trades of a settled market at its settlement value, for `notify_trade`."""
        for trades in self._trades.get(notice.feed, {}).values():
            trade = trades[-1]
            if not trade.isopen:
                continue
            fees = self.broker.getcommissioninfo(notice.feed)
            trade.update(notice, -trade.size, notice.value, 0.0, 0.0, 0.0, fees)
            trade.dtclose = EPOCH_DAY + self.now / DAY
            self._tradespending.append(copy.copy(trade))

    def _stop(self) -> None:
        """End the strategy, then its analyzers: one that fails then costs its own analysis."""
        self.stop()
        for name, analyzer in self.analyzers.getitems():
            try:
                analyzer._stop()
            except ANALYZER_ERRORS as error:
                self.broker.annotator.failed[name] = failed(error)
        self._stage1()

    def add_timer(self, *given: Any, **how: Any) -> Any:
        """Call `notify_timer` at the first step at or after a time of each day."""
        asked = signature(super().add_timer).bind(*given, **how).arguments
        if asked.get("cheat"):
            raise ValueError("add_timer(cheat=True): an order always arrives after its decision")
        if unnamed := asked.get("args"):
            # backtrader's own cannot pass them on.
            raise TypeError(f"add_timer(): give {unnamed[0]!r} a name")
        if self.env.is_running:
            raise RuntimeError("add_timer() is for __init__ and start: the run has begun")
        return super().add_timer(*given, **how)


def _without_exits(name: str, how: dict[str, Any]) -> dict[str, Any]:
    """Return a bracket's arguments. Raises BadOrder for one that has exits."""
    if any(how.get(exit_, exit_) is not None for exit_ in ("stopexec", "limitexec")):
        raise BadOrder(
            f"{name}: Kalshi has no stop orders and none that wait for another: send the exits in"
            " notify_order, or pass stopexec=None and limitexec=None"
        )
    for argument in ("stopprice", "stopargs", "limitprice", "limitargs"):
        if how.get(argument):
            raise BadOrder(f"{argument}: the exits of this {name} are None")
    return how


def _missing(held: float, wanted: float, price: float) -> float:
    """The contracts to buy, or below zero to sell, for a position worth so many dollars."""
    cost = price if wanted > 0 else 1 - price
    turned = abs(held) if held * wanted < 0 else 0.0
    missing = wanted if turned else wanted - held * cost
    return math.copysign(turned + abs(missing) // cost, missing)


def _price_of(feed: Feed, price: float | None) -> float:
    if price is not None:
        limit_price(price)
        return price
    _refuse_unbegun(feed)
    return float(feed.close[0])


def _refuse_unbegun(feed: Feed) -> None:
    if not len(feed):
        raise BadOrder(
            f"{feed.listing.ticker} has not shown a book with two sides yet, so it has no price"
            " to size an order by"
        )
