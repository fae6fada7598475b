"""The figures of a run, computed once from its journal and its equity.

Money is in millionths of a dollar, counts in 1/100 contract, instants in microseconds since 1970.
A figure that cannot be computed is None: never 0, never NaN.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from backtests.data.universe import DAY, DOLLAR, MONEY, Ints, Universe
from backtests.metrics.coverage import CoverageFigures
from backtests.metrics.drawdown import Drawdown
from backtests.metrics.events import EventFigures, figures_by_event
from backtests.metrics.marks import EquityPath, final_marks
from backtests.metrics.probabilities import ProbabilityFigures, score_probabilities
from backtests.metrics.ratios import YEAR, Ratios, ratios
from backtests.metrics.significance import Significance
from backtests.metrics.waits import Waits, better_prices
from backtests.rules.execution import JOURNAL_COLUMN, EntryKind, RunOutcome
from backtests.rules.ledger import Ledger
from kalshi_insights.arrays import np

# The riskless rate for a year: an assumption, about what three-month US Treasury bills paid in
# 2025 (series DTB3 of the Federal Reserve Bank of St. Louis), not data of a run's time.
BILL_RATE = 0.04

# Below these minima, annual figures are withheld. At 100 events a win rate is known to within ten
# points; with fewer than 30 days, skewness and tails of daily returns are guesses.
LEAST_DAYS = 30
LEAST_EVENTS = 100
ENTRIES_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """The parts of the P&L, to the unit: price + settlement - fees = final equity - starting cash.

    `price` is the gain of closing trades over the average cost of what they closed (`realised`)
    plus the marks of open positions above their cost (`unrealised`). `better_prices` is the part of
    the P&L that fills at better prices than their orders' limits brought.
    """

    start_cash: int
    final_cash: int
    final_equity: int
    realised: int
    unrealised: int
    settlement: int
    fees: int
    better_prices: int = 0

    @property
    def price(self) -> int:
        return self.realised + self.unrealised

    @property
    def pnl(self) -> int:
        return self.final_equity - self.start_cash


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Counts of orders and fills. `traded` is the value of the contracts bought and sold, each at
    the price of its own side; `turnover` is `traded` over mean daily equity."""

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
    """The capital that positions locked, at cost, and for how long.

    `time_exposed` is the share of time with any position, `share_locked` the mean share of capital
    (cash and cost) that was locked. `dollar_days` is locked capital times days, `annual_return`
    the P&L on it for a year without compounding, and `bills_earned` the interest that bills at
    `bill_rate` would have earned on it.
    """

    time_exposed: float | None
    share_locked: float | None
    dollar_days: float
    annual_return: float | None
    bill_rate: float
    bills_earned: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All figures of a run; `docs/metrics.md` explains each of them."""

    days: float
    total_return: float
    money: Money
    activity: Activity
    capital: Capital
    ratios: Ratios
    drawdown: Drawdown
    events: EventFigures
    probabilities: ProbabilityFigures
    waits: Waits = field(default_factory=Waits)
    coverage: CoverageFigures = field(default_factory=CoverageFigures)
    significance: Significance | None = None

    def as_json(self) -> dict[str, Any]:
        """The figures nested as the dataclasses are, with `money.price` and `money.pnl`, and with
        the significance in words."""
        figures = asdict(self)
        figures["money"] |= {"price": self.money.price, "pnl": self.money.pnl}
        figures["significance"] = self.significance and self.significance.as_json()
        return figures


@dataclass(slots=True)
class JournalReplay:
    """A journal booked again, which adds up the P&L of each market and the locked capital.

    The integrals over time are in money times microseconds.
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
    outcome: RunOutcome,
    path: EquityPath,
    *,
    bill_rate: float = BILL_RATE,
) -> Figures:
    """Compute the figures of a run from its journal and its equity path.

    Raises ValueError where the journal does not add up.
    """
    start, end = int(path.at[0]), int(path.at[-1])
    days = (end - start) / DAY
    account = replay_journal(outcome, cash=int(path.equity[0]), start=start, end=end)
    holdings = account.ledger.holdings
    unrealised = {m: mark - holdings[m].cost for m, mark in final_marks(universe, outcome).items()}
    account.pnl.update(unrealised)
    money = Money(
        start_cash=int(path.equity[0]),
        final_cash=outcome.cash,
        final_equity=int(path.equity[-1]),
        realised=account.realised,
        unrealised=sum(unrealised.values()),
        settlement=account.settlement,
        fees=account.ledger.fees,
        better_prices=better_prices(outcome.journal),
    )
    daily = path.daily().equity
    events = figures_by_event(account.pnl, account.last, universe.listings)
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
        probabilities=score_probabilities(
            universe, outcome.journal, outcome.annotations.probabilities
        ),
    )


def replay_journal(outcome: RunOutcome, *, cash: int, start: int, end: int) -> JournalReplay:
    """Book the fills and settlements of a journal again.

    Raises ValueError where they do not add up to the final cash.
    """
    account = JournalReplay(Ledger(cash), start)
    for at, kind, market, side, count, price, fee in booked_entries(outcome.journal):
        account.wait(at)
        if kind == EntryKind.FILL:
            account.fill(market, side, count, price=price, fee=fee)
        else:
            account.settle(market, price)
    account.wait(end)
    if account.ledger.cash != outcome.cash:
        raise ValueError(f"the journal adds up to {account.ledger.cash}, not to {outcome.cash}")
    return account


def booked_entries(journal: Ints) -> Iterator[list[int]]:
    """Yield instant, kind, market, side, count, price and fee of each fill and settlement."""
    names = ("at", "kind", "market", "side", "count", "price", "fee")
    kind = journal[:, JOURNAL_COLUMN["kind"]]
    booked = np.flatnonzero((kind == EntryKind.FILL) | (kind == EntryKind.SETTLED))
    # As lists they take many times the room of the journal.
    for first in range(0, len(booked), ENTRIES_AT_ONCE):
        entries = journal[booked[first : first + ENTRIES_AT_ONCE]]
        yield from _columns(entries, *names).tolist()


def too_few(days: float, events: int) -> str:
    """The reason for withholding annual figures, or an empty string."""
    if events < LEAST_EVENTS:
        return f"{pluralise(events, 'independent event')}: too few to annualise"
    if days < LEAST_DAYS:
        return f"{pluralise(int(days), 'day')}: too few to annualise"
    return ""


def pluralise(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def activity(outcome: RunOutcome, daily: Ints) -> Activity:
    kind = outcome.journal[:, JOURNAL_COLUMN["kind"]]
    fills = outcome.journal[kind == EntryKind.FILL]
    lines = [int(np.count_nonzero(kind == each)) for each in EntryKind]
    traded = traded_value(fills)
    equity = int(np.sum(daily))
    return Activity(
        orders=lines[EntryKind.ORDER],
        fills=lines[EntryKind.FILL],
        refusals=lines[EntryKind.REFUSED],
        cancellations=lines[EntryKind.CANCELLED],
        settlements=lines[EntryKind.SETTLED],
        contracts=int(np.sum(fills[:, JOURNAL_COLUMN["count"]])),
        traded=traded,
        turnover=traded * len(daily) / equity if equity else None,
        open_positions=len(outcome.positions),
    )


def traded_value(fills: Ints) -> int:
    """The value of the contracts of fills: YES at the price, NO at one dollar less the price.

    A purchase closes NO first and opens YES with the rest; a sale does the opposite.
    """
    side, count, price, position = _columns(fills, "side", "count", "price", "position").T
    before = position - side * count
    closing = np.where(before * side < 0, np.minimum(count, np.abs(before)), 0)
    opened_at = np.where(side > 0, price, DOLLAR - price)
    return int(np.sum((count - closing) * opened_at + closing * (DOLLAR - opened_at)))


def capital(account: JournalReplay, pnl: int, *, days: float, rate: float, annual: bool) -> Capital:
    locked_days = account.locked_time / DAY
    return Capital(
        time_exposed=account.held_time / (days * DAY) if days else None,
        share_locked=(account.locked_time / account.capital_time if account.capital_time else None),
        dollar_days=locked_days / MONEY,
        annual_return=pnl / locked_days * YEAR if annual and locked_days else None,
        bill_rate=rate,
        bills_earned=round(locked_days * rate / YEAR),
    )


def _columns(journal: Ints, *names: str) -> Ints:
    return journal[:, [JOURNAL_COLUMN[name] for name in names]]
