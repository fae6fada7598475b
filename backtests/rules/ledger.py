"""The money of a run, in integers: cash, positions, what they cost, settlement.

A position is a signed count in 1/100 contract: YES above zero, NO below. Both sides of one market
net at once, as Kalshi nets them: a pair of YES and NO is a dollar in cash. Prices are in 1/10,000
dollar on the YES scale, money in 1/1,000,000 dollar, so that count x price is money, exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

BUY, SELL = 1, -1
PAYOUT = 10_000  # what a contract can be worth, as a price
WHOLE = 1_000_000  # the same as a settlement value
CONTRACT = 100


class LedgerError(ValueError):
    """A booking that cannot be: it would leave cash below nothing, or trade what has ended."""


# The next two are compiled for the kernel as well: plain integers, calling nothing.


def flow(position: int, side: int, count: int, price: int) -> int:
    """Cash that a fill moves, before fees: below zero where it has to be paid.

    The part that closes a position releases a dollar for each pair it makes.
    """
    if side > 0:
        closing = min(count, -position) if position < 0 else 0
        return closing * 10_000 - count * price
    closing = min(count, position) if position > 0 else 0
    return count * price - (count - closing) * 10_000


def payout(position: int, value: int) -> int:
    """What a position gets at settlement, rounded down to a millionth of a dollar."""
    if position >= 0:
        return position * value // 100
    return -position * (1_000_000 - value) // 100


@dataclass(slots=True)
class Holding:
    """A position, and what was paid for what is left of it: the capital that it locks."""

    position: int = 0
    cost: int = 0


@dataclass(slots=True)
class Ledger:
    """Cash and holdings; each booking keeps `cash + every flow so far = cash now`, to the unit."""

    cash: int
    holdings: dict[int, Holding] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    fees: int = 0

    def position(self, market: int) -> int:
        holding = self.holdings.get(market)
        return holding.position if holding else 0

    @property
    def locked(self) -> int:
        return sum(holding.cost for holding in self.holdings.values())

    def fill(self, market: int, side: int, count: int, *, price: int, fee: int) -> int:
        """Book a fill; answers with the P&L that it realised before its fee."""
        if market in self.ended:
            raise LedgerError("the market has been settled")
        if count <= 0 or not 0 <= price <= PAYOUT or fee < 0:
            raise LedgerError(f"no fill: {count} at {price}, fee {fee}")
        holding = self.holdings.get(market) or Holding()
        moved = flow(holding.position, side, count, price)
        if self.cash + moved - fee < 0:
            raise LedgerError("not enough cash")
        realised = _book(holding, side, count, price)
        self.cash += moved - fee
        self.fees += fee
        if holding.position:
            self.holdings[market] = holding
        else:
            self.holdings.pop(market, None)
        return realised

    def settle(self, market: int, value: int) -> tuple[int, int]:
        """End a market at a value from 0 to 1,000,000; answers with the payout and the P&L."""
        if market in self.ended:
            raise LedgerError("the market has been settled before")
        if not 0 <= value <= WHOLE:
            raise LedgerError(f"no settlement value: {value}")
        self.ended.add(market)
        holding = self.holdings.pop(market, Holding())
        paid = payout(holding.position, value)
        self.cash += paid
        return paid, paid - holding.cost

    def worth(self, mark: Callable[[int, int], int]) -> int:
        """Cash and what the holdings would bring; `mark` prices one contract of a position."""
        held = self.holdings.items()
        return self.cash + sum(abs(h.position) * mark(m, h.position) for m, h in held)


def _book(holding: Holding, side: int, count: int, price: int) -> int:
    """Close what the fill closes at its average cost, open the rest."""
    closing = min(count, abs(holding.position)) if holding.position * side < 0 else 0
    realised = 0
    if closing:
        released = holding.cost * closing // abs(holding.position)
        realised = closing * _bought_at(-side, price) - released
        holding.cost -= released
    holding.cost += (count - closing) * _bought_at(side, price)
    holding.position += side * count
    return realised


def _bought_at(side: int, price: int) -> int:
    """What one contract of a side costs: YES the price, NO what is left of a dollar."""
    return price if side > 0 else PAYOUT - price
