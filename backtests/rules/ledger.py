"""The ledger of a run, in integers: cash, positions, their cost, settlements.

A position is a signed count in 1/100 contract: YES above zero, NO below. Both sides of one market
net at once, as Kalshi nets them: a pair of YES and NO is a dollar in cash. Prices are in 1/10,000
dollar on the YES scale, money in 1/1,000,000 dollar, so that count x price is money, exactly.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

BUY, SELL = 1, -1
PAYOUT = 10_000  # the most that a contract can pay, as a price
WHOLE = 1_000_000  # the same, as a settlement value


class LedgerError(ValueError):
    """An impossible booking: it would leave cash below zero, or trade a settled market."""


# The next two functions are compiled for the kernel too: they take plain integers and call
# nothing.


def flow(position: int, side: int, count: int, price: int) -> int:
    """The cash that a fill moves, before fees; negative where the run pays.

    The part that closes a position releases a dollar for each pair of YES and NO.
    """
    if side > 0:
        closing = min(count, -position) if position < 0 else 0
        return closing * 10_000 - count * price
    closing = min(count, position) if position > 0 else 0
    return count * price - (count - closing) * 10_000


def payout(position: int, value: int) -> int:
    """The payout of a position at settlement, rounded down to a millionth of a dollar."""
    if position >= 0:
        return position * value // 100
    return -position * (1_000_000 - value) // 100


@dataclass(slots=True)
class Holding:
    """A position and the cost of what is left of it, which is the capital that it locks."""

    position: int = 0
    cost: int = 0


@dataclass(slots=True)
class Ledger:
    """Cash and holdings; every booking keeps `starting cash + all flows = cash`, to the unit."""

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
        """Book a fill and return the P&L that it realised before its fee."""
        if market in self.ended:
            raise LedgerError("the market has been settled")
        if count <= 0 or not 0 <= price <= PAYOUT or fee < 0:
            raise LedgerError(f"not a fill: {count} at {price}, fee {fee}")
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
        """Settle a market at a value from 0 to 1,000,000; return the payout and the P&L."""
        if market in self.ended:
            raise LedgerError("the market has been settled before")
        if not 0 <= value <= WHOLE:
            raise LedgerError(f"not a settlement value: {value}")
        self.ended.add(market)
        holding = self.holdings.pop(market, Holding())
        paid = payout(holding.position, value)
        self.cash += paid
        return paid, paid - holding.cost

    def worth(self, mark: Callable[[int, int], int]) -> int:
        """Cash plus the value of the holdings; `mark` prices one contract of a position."""
        held = self.holdings.items()
        return self.cash + sum(abs(h.position) * mark(m, h.position) for m, h in held)


def _book(holding: Holding, side: int, count: int, price: int) -> int:
    """Close what the fill closes at its average cost, and open the rest."""
    closing = min(count, abs(holding.position)) if holding.position * side < 0 else 0
    realised = 0
    if closing:
        released = holding.cost * closing // abs(holding.position)
        realised = closing * _cost_of_one(-side, price) - released
        holding.cost -= released
    holding.cost += (count - closing) * _cost_of_one(side, price)
    holding.position += side * count
    return realised


def _cost_of_one(side: int, price: int) -> int:
    """The cost of one contract of a side: the price for YES, one dollar less the price for NO."""
    return price if side > 0 else PAYOUT - price
