"""Journals written by hand, without an engine: for tests of what is made of them."""

from collections.abc import Sequence

import numpy as np

from backtests.data.universe import CONTRACT, DOLLAR, MISSING, Listing, Quotes, Settlement, Universe
from backtests.rules.execution import JOURNAL, Kind, Outcome
from backtests.rules.ledger import Ledger

CENT = DOLLAR // 100
DOLLARS = 1_000_000


def a_universe(
    rows: Sequence[tuple],
    *,
    settlements: Sequence[Settlement | None] = (None,),
    events: Sequence[str] = (),
) -> Universe:
    """Of rows (at, market, bid, ask, whether one could trade), prices in cents or None."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * 5
    at, market = (np.array(column, np.int64) for column in columns[:2])
    bid, ask = (
        np.array([MISSING if cents is None else cents * CENT for cents in side], np.int64)
        for side in columns[2:4]
    )
    unknown = np.full(len(rows), MISSING)
    tradable = np.array(columns[4], np.bool_)
    named = events or [f"EVENT{place}" for place in range(len(settlements))]
    return Universe(
        Quotes(at, market, bid, ask, unknown, unknown, unknown, unknown, unknown, tradable),
        [Listing(ticker=f"{event}-{i}", event=event) for i, event in enumerate(named)],
        settlements,
        [()] * len(settlements),
        [()] * len(settlements),
    )


class Desk:
    """Deals as told and keeps the journal. Money in millionths, prices in cents."""

    def __init__(self, cash: int) -> None:
        self.ledger = Ledger(cash)
        self.lines: list[tuple[int, ...]] = []
        self.orders = 0

    def buy(self, at: int, market: int, contracts: int, *, cents: int, fee: int = 0) -> None:
        self.deal(at, market, 1, count=contracts * CONTRACT, price=cents * CENT, fee=fee)

    def sell(self, at: int, market: int, contracts: int, *, cents: int, fee: int = 0) -> None:
        self.deal(at, market, -1, count=contracts * CONTRACT, price=cents * CENT, fee=fee)

    def deal(
        self, at: int, market: int, side: int, *, count: int, price: int, fee: int, row: int = 0
    ) -> None:
        self.order(at, market, side, count=count, price=price, row=row)
        self.ledger.fill(market, side, count, price=price, fee=fee)
        self.tell(at, Kind.FILL, market, side=side, count=count, price=price, fee=fee, row=row)

    def order(
        self, at: int, market: int, side: int = 1, *, count: int = 100, price: int = 0, row: int = 0
    ) -> None:
        self.tell(at, Kind.ORDER, market, side=side, count=count, price=price, row=row)
        self.orders += 1

    def settle(self, market: int, settlement: Settlement) -> None:
        held = self.ledger.position(market)
        self.ledger.settle(market, settlement.value)
        if held:
            side = 1 if held > 0 else -1
            at, count = settlement.paid_at, abs(held)
            self.tell(at, Kind.SETTLED, market, side=side, count=count, price=settlement.value)

    def tell(self, at: int, kind: Kind, market: int, **told: int) -> None:
        line = dict.fromkeys(JOURNAL, 0) | {
            "at": at,
            "kind": int(kind),
            "market": market,
            "order": self.orders,
            "cash": self.ledger.cash,
            "position": self.ledger.position(market),
        }
        self.lines.append(tuple((line | told).values()))

    def outcome(self) -> Outcome:
        journal = np.array(self.lines, np.int64).reshape(-1, len(JOURNAL))
        held = {market: h.position for market, h in self.ledger.holdings.items()}
        return Outcome(journal, self.ledger.cash, held)


def dealt(universe: Universe, *, seed: int, cash: int, often: float = 0.1) -> Outcome:
    """Random trades on both sides of the books of a universe, with fees, until all is paid."""
    rng = np.random.default_rng(seed)
    desk, quotes = Desk(cash), universe.quotes
    due = sorted((s.paid_at, m) for m, s in enumerate(universe.settlements) if s)
    for row in range(len(quotes)):
        at, market = int(quotes.at[row]), int(quotes.market[row])
        while due and due[0][0] <= at:
            _pay(desk, universe, due.pop(0)[1])
        side = int(rng.choice((1, -1)))
        price = int((quotes.ask if side > 0 else quotes.bid)[row])
        count, fee = int(rng.integers(1, 5_000)), int(rng.integers(0, 200_000))
        enough = desk.ledger.cash > count * DOLLAR + fee
        if quotes.tradable[row] and price != MISSING and enough and rng.random() < often:
            desk.deal(at, market, side, count=count, price=price, fee=fee, row=row)
    for _, market in due:
        _pay(desk, universe, market)
    return desk.outcome()


def _pay(desk: Desk, universe: Universe, market: int) -> None:
    settlement = universe.settlements[market]
    assert settlement
    desk.settle(market, settlement)
