"""The figures of a run, computed once from its journal and its equity.

Money is in millionths of a dollar, counts in 1/100 contract, instants in microseconds since 1970.
What cannot be said is None: never 0, never NaN.
"""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from backtests.data.universe import DAY, DOLLAR, MONEY, Floats, Ints, Universe
from backtests.metrics.drawdown import Drawdown
from backtests.metrics.events import ByEvent, by_event
from backtests.metrics.marks import COLUMN, EquityPath, marks
from backtests.metrics.ratios import YEAR, Ratios, ratios
from backtests.rules.execution import Kind, Outcome
from backtests.rules.ledger import Ledger

# What riskless money earns in a year: an assumption, about what three-month US Treasury bills
# paid in 2025 (series DTB3 of the Federal Reserve Bank of St. Louis), not data of a run's time.
BILL_RATE = 0.04

# Below these, nothing is said about a year. At 100 events a win rate is known to within ten
# points; with fewer than 30 days, skewness and tails of daily returns are guesses.
LEAST_DAYS = 30
LEAST_EVENTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """Where the P&L comes from, to the unit: price + settlement - fees = final equity - start.

    `price` is what closing trades gained over the average cost of what they closed (`realised`)
    and what open positions are marked above theirs (`unrealised`).
    """

    start_cash: int
    final_cash: int
    final_equity: int
    realised: int
    unrealised: int
    settlement: int
    fees: int

    @property
    def price(self) -> int:
        return self.realised + self.unrealised

    @property
    def pnl(self) -> int:
        return self.final_equity - self.start_cash


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What was done. `traded` is what the contracts bought and sold cost, each at its own side's
    price; `turnover` that over mean daily equity."""

    orders: int
    fills: int
    refusals: int
    cancellations: int
    settlements: int
    contracts: int
    traded: int
    turnover: float | None
    open_positions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Capital:
    """What positions locked, at cost, and for how long.

    `time_exposed` is the share of the time with any position, `share_locked` the mean share of
    capital (cash and cost) that was locked. `dollar_days` is locked capital times days;
    `annual_return` the P&L on it for a year, without compounding, and `bills_earned` what bills at
    `bill_rate` would have earned on it.
    """

    time_exposed: float | None
    share_locked: float | None
    dollar_days: float
    annual_return: float | None
    bill_rate: float
    bills_earned: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Brier:
    """The mean square of stated probability less outcome, over `markets`; None where there are
    none. 0 is perfect, 0.25 what always saying one half gets."""

    score: float | None = None
    markets: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All that is said about a run; `docs/metrics.md` explains each figure."""

    days: float
    total_return: float
    money: Money
    activity: Activity
    capital: Capital
    ratios: Ratios
    drawdown: Drawdown
    events: ByEvent
    brier: Brier

    def as_json(self) -> dict[str, Any]:
        """Nested as the dataclasses are, with the sums `money.price` and `money.pnl`."""
        told = asdict(self)
        told["money"] |= {"price": self.money.price, "pnl": self.money.pnl}
        return told


@dataclass(slots=True)
class Account:
    """The journal booked once more, with what it earned in each market and what was locked.

    The sums over time are in money times microseconds.
    """

    ledger: Ledger
    now: int
    pnl: Counter[int] = field(default_factory=Counter)
    last: dict[int, int] = field(default_factory=dict)
    realised: int = 0
    settlement: int = 0
    held_time: int = 0
    locked: int = 0
    locked_time: int = 0
    capital_time: int = 0

    def wait(self, until: int) -> None:
        passed, self.now = until - self.now, until
        self.held_time += passed * bool(self.ledger.holdings)
        self.locked_time += passed * self.locked
        self.capital_time += passed * (self.locked + self.ledger.cash)

    def fill(self, market: int, side: int, count: int, *, price: int, fee: int) -> None:
        before = self._cost(market)
        gained = self.ledger.fill(market, side, count, price=price, fee=fee)
        self.locked += self._cost(market) - before
        self.realised += gained
        self._earn(market, gained - fee)

    def settle(self, market: int, value: int) -> None:
        self.locked -= self._cost(market)
        _, gained = self.ledger.settle(market, value)
        self.settlement += gained
        self._earn(market, gained)

    def _earn(self, market: int, gained: int) -> None:
        self.pnl[market] += gained
        self.last[market] = self.now

    def _cost(self, market: int) -> int:
        holding = self.ledger.holdings.get(market)
        return holding.cost if holding else 0


def measure(
    universe: Universe,
    outcome: Outcome,
    path: EquityPath,
    *,
    stated: Floats | None = None,
    bill_rate: float = BILL_RATE,
) -> Figures:
    """The figures of a run, whose equity `trace` tells.

    `stated` is the probability of YES that the strategy stated at each row of the quotes, NaN
    where none. Raises ValueError where the journal does not add up.
    """
    start, end = int(path.at[0]), int(path.at[-1])
    days = (end - start) / DAY
    account = booked(outcome, cash=int(path.equity[0]), start=start, end=end)
    holdings = account.ledger.holdings
    unrealised = {m: mark - holdings[m].cost for m, mark in marks(universe, outcome).items()}
    account.pnl.update(unrealised)
    money = Money(
        start_cash=int(path.equity[0]),
        final_cash=outcome.cash,
        final_equity=int(path.equity[-1]),
        realised=account.realised,
        unrealised=sum(unrealised.values()),
        settlement=account.settlement,
        fees=account.ledger.fees,
    )
    daily = path.daily().equity
    events = by_event(account.pnl, account.last, universe.listings)
    withheld = too_few(days, events.traded)
    return Figures(
        days=days,
        total_return=money.pnl / money.start_cash,
        money=money,
        activity=activity(outcome, daily),
        capital=capital(account, money.pnl, days=days, rate=bill_rate, annual=not withheld),
        ratios=Ratios(withheld=withheld) if withheld else ratios(daily, days=days, rate=bill_rate),
        drawdown=path.drawdown(),
        events=events,
        brier=brier(universe, outcome, stated),
    )


def booked(outcome: Outcome, *, cash: int, start: int, end: int) -> Account:
    """A journal's fills and settlements, booked again. Raises ValueError where it does not add
    up to the cash it ends with."""
    account = Account(Ledger(cash), start)
    names = ("at", "kind", "market", "side", "count", "price", "fee")
    for at, kind, market, side, count, price, fee in _columns(outcome.journal, *names).tolist():
        if kind == Kind.FILL:
            account.wait(at)
            account.fill(market, side, count, price=price, fee=fee)
        elif kind == Kind.SETTLED:
            account.wait(at)
            account.settle(market, price)
    account.wait(end)
    if account.ledger.cash != outcome.cash:
        raise ValueError(f"the journal adds up to {account.ledger.cash}, not to {outcome.cash}")
    return account


def too_few(days: float, events: int) -> str:
    """Why nothing can be said about a year; nothing where it can."""
    if events < LEAST_EVENTS:
        return f"{counted(events, 'independent event')}: too few to annualise"
    if days < LEAST_DAYS:
        return f"{counted(int(days), 'day')}: too few to annualise"
    return ""


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def activity(outcome: Outcome, daily: Ints) -> Activity:
    kind = outcome.journal[:, COLUMN["kind"]]
    fills = outcome.journal[kind == Kind.FILL]
    lines = [int(np.count_nonzero(kind == each)) for each in Kind]
    traded = exchanged(fills)
    equity = int(np.sum(daily))
    return Activity(
        orders=lines[Kind.ORDER],
        fills=lines[Kind.FILL],
        refusals=lines[Kind.REFUSED],
        cancellations=lines[Kind.CANCELLED],
        settlements=lines[Kind.SETTLED],
        contracts=int(np.sum(fills[:, COLUMN["count"]])),
        traded=traded,
        turnover=traded * len(daily) / equity if equity else None,
        open_positions=len(outcome.positions),
    )


def exchanged(fills: Ints) -> int:
    """What the contracts of fills cost: YES at the price, NO at what is left of a dollar.

    Buying closes NO first and opens YES with the rest; selling the other way round.
    """
    side, count, price, position = _columns(fills, "side", "count", "price", "position").T
    before = position - side * count
    closing = np.where(before * side < 0, np.minimum(count, np.abs(before)), 0)
    opened_at = np.where(side > 0, price, DOLLAR - price)
    return int(np.sum((count - closing) * opened_at + closing * (DOLLAR - opened_at)))


def capital(account: Account, pnl: int, *, days: float, rate: float, annual: bool) -> Capital:
    locked_days = account.locked_time / DAY
    return Capital(
        time_exposed=account.held_time / (days * DAY) if days else None,
        share_locked=(account.locked_time / account.capital_time if account.capital_time else None),
        dollar_days=locked_days / MONEY,
        annual_return=pnl / locked_days * YEAR if annual and locked_days else None,
        bill_rate=rate,
        bills_earned=round(locked_days * rate / YEAR),
    )


def brier(universe: Universe, outcome: Outcome, stated: Floats | None) -> Brier:
    """One score for each settled market: of what was stated where its first order was decided.

    Brier (1950), "Verification of forecasts expressed in terms of probability".
    """
    if stated is None:
        return Brier()
    journal = outcome.journal
    orders = journal[journal[:, COLUMN["kind"]] == Kind.ORDER]
    markets, first = np.unique(orders[:, COLUMN["market"]], return_index=True)
    squares = [
        (float(stated[row]) - ended.value / MONEY) ** 2
        for market, row in zip(markets, orders[first, COLUMN["row"]], strict=True)
        if (ended := universe.settlements[market]) and not np.isnan(stated[row])
    ]
    if not squares:
        return Brier()
    return Brier(score=sum(squares) / len(squares), markets=len(squares))


def _columns(journal: Ints, *names: str) -> Ints:
    return journal[:, [COLUMN[name] for name in names]]
