"""A strategy that does what a script says, at instants of a universe."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from backtests.data.universe import CONTRACT, MONEY, SECOND, Universe
from backtests.engine.event_driven import cerebro
from backtests.rules.execution import JOURNAL, EntryKind, ExecutionModel, FillModel, Reason
from backtests.strategies.base import Strategy, bt
from backtests.tests.test_decision_points import observed_at
from backtests.tests.test_execution import NOW, book, universe_of

Script = Mapping[Any, Callable[["Scripted"], object]]  # by second
LIMIT = bt.Order.Limit


class Scripted(Strategy):
    """Does at each second what its script says, and keeps the orders that it sent."""

    name, version, summary = "scripted", "1", "Does what it is told."
    script: ClassVar[Script] = {}

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.done: set[float] = set()
        self.told: list[tuple[float, str, str]] = []

    def next(self) -> None:
        second = (self.now - NOW) / SECOND
        if second in self.script and second not in self.done:
            self.done.add(second)
            self.script[second](self)

    def bid(self, contracts: float, cents: float, **how: Any) -> None:
        order = self.buy(self.datas[0], contracts, cents / 100, exectype=LIMIT, **how)
        self.sent.append(order)

    def ask(self, contracts: float, cents: float, **how: Any) -> None:
        order = self.sell(self.datas[0], contracts, cents / 100, exectype=LIMIT, **how)
        self.sent.append(order)

    def notify_order(self, order: Any) -> None:
        second = (self.now - NOW) / SECOND
        self.told.append((second, order.getstatusname(), order.info.get("reason", "")))


def clocked(*rows: dict[str, Any], looks: Sequence[int] = (), seconds: int = 60) -> Universe:
    """A market of these rows, observed at these seconds too, beside one with a row each second."""
    ticks = [book(10, 90, at=at, market=1) for at in range(seconds)]
    every = sorted([*rows, *ticks], key=lambda row: (row["at"], row["market"]))
    universe = universe_of(*every, markets=2)
    return observed_at(universe, looks, [])


def scripted(
    universe: Universe,
    script: Script,
    fills: FillModel = FillModel.EXPECTED,
    execution: ExecutionModel = ExecutionModel(),  # noqa: B008 (frozen)
) -> Any:
    strategy = type("Told", (Scripted,), {"script": script})
    return cerebro.run(universe, strategy, execution, fills, cash=1_000 * MONEY)


def lines_of(finished: Any) -> list[tuple[float, str, int, float, str]]:
    """The second, kind, order, signed contracts and reason of each entry but the orders'."""
    lines = [dict(zip(JOURNAL, map(int, line), strict=True)) for line in finished.outcome.journal]
    return [
        (
            (line["at"] - NOW) / SECOND,
            EntryKind(line["kind"]).name,
            line["order"],
            line["side"] * line["count"] / CONTRACT,
            Reason(line["reason"]).name,
        )
        for line in lines
        if line["kind"] != EntryKind.ORDER
    ]
