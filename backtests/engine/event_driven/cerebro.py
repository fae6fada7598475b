"""One backtest through backtrader."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import backtrader as bt

from backtests.data.universe import CONTRACT, MISSING, Universe
from backtests.engine.event_driven.broker import Broker
from backtests.engine.event_driven.order_book import Book, Ticket
from backtests.rules.execution import HOLD, Execution, Fills, Outcome, Reason
from backtests.strategies.base import Signal, Strategy

# Steps between two looks at whether to go on, and two reports of progress.
STEPS = 4_096


@dataclass(frozen=True, slots=True)
class Finished:
    """An outcome, and the strategy with its analyzers."""

    outcome: Outcome
    strategy: Strategy | None


class Cerebro(bt.Cerebro):
    """Gives its strategy one step for each distinct instant, whatever feeds have a bar then.

    backtrader's own loop finds the next instant by comparing floats of days, which merges
    instants less than 20 microseconds apart, and asks every feed at every step.
    """

    progress: Callable[[int], None]

    def _runnext(self, runstrats: list[Strategy]) -> None:
        (strategy,) = runstrats
        for step, _ in enumerate(self._broker.steps()):
            self._brokernotify()
            strategy._next()
            if step % STEPS == 0:
                self.progress(self._broker.rows[-1].row)
        self._brokernotify()
        strategy._notify()


class Following(Strategy):
    """Trades towards the targets of a `Signal`, by the kernel's rules of what to send."""

    params = (("targets", None), ("make", False))

    def start(self) -> None:
        # By market, the newest order and the target that it was for.
        self.sent: dict[int, tuple[Ticket, int]] = {}

    def next(self) -> None:
        for book in self.broker.rows:
            target = int(self.p.targets[book.row])
            if target != HOLD and book.tradable and not book.sent:
                self._decide(book, target)

    def _decide(self, book: Book, target: int) -> None:
        missing = target * CONTRACT - self.broker.ledger.position(book.place)
        resting = book.resting[0] if book.resting else None
        if missing:
            self._order(book, missing, resting, target)
        elif resting:
            self.broker.take_back(book, resting)

    def _order(self, book: Book, missing: int, resting: Ticket | None, target: int) -> None:
        side, count = (1, missing) if missing > 0 else (-1, -missing)
        price = self._wished(book, side, count, resting)
        if price < 0 or self._is_short(book, target, resting, (side, count, price)):
            return
        ticket = self.broker.place(
            book,
            side,
            count,
            limit=price,
            rests=self.p.make,
            post_only=self.p.make,
            replaces=resting,
        )
        self.sent[book.place] = ticket, target

    def _wished(self, book: Book, side: int, count: int, resting: Ticket | None) -> int:
        """The price of the order to send; below zero where there is nothing to send."""
        if self.p.make:
            price = book.bid if side > 0 else book.ask
            rests = resting and (resting.left, resting.side, resting.limit) == (count, side, price)
            return MISSING if rests else price
        if not book.offered(side):
            return MISSING
        return book.ask if side > 0 else book.bid

    def _is_short(
        self, book: Book, target: int, resting: Ticket | None, order: tuple[int, int, int]
    ) -> bool:
        """Whether an order for this target was refused, and this one would be again."""
        last, asked = self.sent.get(book.place, (None, HOLD))
        if last is None or asked != target or not last.refused:
            return False
        if last.reason != Reason.FUNDS:
            return last.reason == Reason.POSITION_LIMIT
        # The price may be another since.
        free = self.broker.ledger.cash - self.broker.held_back
        free += resting.reserved if resting else 0
        return bool(self.broker.need(book, *order) > free)


def run(
    universe: Universe,
    strategy: Signal | type[Strategy],
    execution: Execution,
    fills: Fills,
    *,
    cash: int,
    parameters: Mapping[str, Any] | None = None,
    analyzers: Sequence[type[bt.Analyzer]] = (),
    progress: Callable[[int], None] = lambda rows: None,
) -> Finished:
    """Run a strategy over a universe; `cash` in millionths of a dollar.

    `progress` is told now and then how many rows are done, and may raise to end the run.
    """
    broker = Broker(universe, execution, fills=fills, cash=cash)
    cerebro = Cerebro(stdstats=False, runonce=False, preload=False)
    cerebro.progress = progress
    cerebro.setbroker(broker)
    # Of every market, of one that never has two sides too: without any, backtrader does not run.
    for book in broker.books:
        cerebro.adddata(book.feed, name=book.feed.listing.ticker)
    for analyzer in analyzers:
        cerebro.addanalyzer(analyzer)
    if isinstance(strategy, Signal):
        targets = strategy.wanted(universe)
        cerebro.addstrategy(Following, targets=targets, make=execution.make)
    else:
        cerebro.addstrategy(strategy, **(parameters or {}))
    ran = cerebro.run()
    return Finished(broker.outcome, ran[0] if ran else None)
