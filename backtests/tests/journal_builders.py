"""Builders of journals and of their universes, without an engine, for tests of metrics."""

from collections.abc import Sequence

import numpy as np

from backtests.data.universe import (
    CONTRACT,
    DOLLAR,
    MISSING,
    Ints,
    Listing,
    Quotes,
    Settlement,
    Universe,
)
from backtests.metrics import trace
from backtests.rules.execution import JOURNAL, EntryKind, RunOutcome
from backtests.rules.ledger import Ledger

CENT = DOLLAR // 100
DOLLARS = 1_000_000


def universe_of_rows(
    rows: Sequence[tuple],
    *,
    settlements: Sequence[Settlement | None] = (None,),
    events: Sequence[str] = (),
) -> Universe:
    """A universe of rows (at, market, bid, ask, tradable), with prices in cents or None."""
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


class JournalBuilder:
    """Trades as it is told and keeps the journal. Money is in millionths, prices in cents."""

    def __init__(self, cash: int) -> None:
        self.ledger = Ledger(cash)
        self.rows: list[tuple[int, ...]] = []
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
        self.write(
            at, EntryKind.FILL, market, side=side, count=count, price=price, fee=fee, row=row
        )

    def order(
        self, at: int, market: int, side: int = 1, *, count: int = 100, price: int = 0, row: int = 0
    ) -> None:
        self.write(at, EntryKind.ORDER, market, side=side, count=count, price=price, row=row)
        self.orders += 1

    def settle(self, market: int, settlement: Settlement) -> None:
        held = self.ledger.position(market)
        self.ledger.settle(market, settlement.value)
        if held:
            side = 1 if held > 0 else -1
            at, count = settlement.paid_at, abs(held)
            self.write(
                at, EntryKind.SETTLED, market, side=side, count=count, price=settlement.value
            )

    def write(self, at: int, kind: EntryKind, market: int, **values: int) -> None:
        line = dict.fromkeys(JOURNAL, 0) | {
            "at": at,
            "kind": int(kind),
            "market": market,
            "order": self.orders,
            "cash": self.ledger.cash,
            "position": self.ledger.position(market),
        }
        self.rows.append(tuple((line | values).values()))

    def outcome(self) -> RunOutcome:
        journal = np.array(self.rows, np.int64).reshape(-1, len(JOURNAL))
        held = {market: h.position for market, h in self.ledger.holdings.items()}
        return RunOutcome(journal, self.ledger.cash, held)


def equity_at(
    universe: Universe, outcome: RunOutcome, instants: Sequence[int] | Ints, *, cash: int
) -> Ints:
    """The equity of a run at instants, by its equity path."""
    start = min(int(instants[0]), *universe.quotes.at[:1].tolist(), 0) - 1
    path = trace(universe, outcome, cash=cash, start=start, end=int(instants[-1]))
    return path.equity_at(np.asarray(instants))


def random_outcome(universe: Universe, *, seed: int, cash: int, often: float = 0.1) -> RunOutcome:
    """The outcome of random trades on a universe's books, with fees, until all is paid."""
    rng = np.random.default_rng(seed)
    journal, quotes = JournalBuilder(cash), universe.quotes
    due = sorted((s.paid_at, m) for m, s in enumerate(universe.settlements) if s)
    for row in range(len(quotes)):
        at, market = int(quotes.at[row]), int(quotes.market[row])
        while due and due[0][0] <= at:
            _pay(journal, universe, due.pop(0)[1])
        side = int(rng.choice((1, -1)))
        price = int((quotes.ask if side > 0 else quotes.bid)[row])
        count, fee = int(rng.integers(1, 5_000)), int(rng.integers(0, 200_000))
        enough = journal.ledger.cash > count * DOLLAR + fee
        if quotes.tradable[row] and price != MISSING and enough and rng.random() < often:
            journal.deal(at, market, side, count=count, price=price, fee=fee, row=row)
    for _, market in due:
        _pay(journal, universe, market)
    return journal.outcome()


def _pay(journal: JournalBuilder, universe: Universe, market: int) -> None:
    settlement = universe.settlements[market]
    assert settlement
    journal.settle(market, settlement)
