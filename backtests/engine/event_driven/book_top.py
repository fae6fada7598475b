"""The top of a book as one row showed it."""

from __future__ import annotations

from dataclasses import dataclass

from backtests.data.universe import MISSING
from backtests.rules import execution as rules


@dataclass(slots=True, eq=False)
class BookTop:
    """The best prices of a book with the sizes that were shown, and what we took of them."""

    row: int = MISSING
    bid: int = MISSING
    ask: int = MISSING
    bid_shown: int = 0
    ask_shown: int = 0
    bid_taken: int = 0
    ask_taken: int = 0

    def price(self, side: int) -> int:
        """The price at which an order of a side takes."""
        return self.ask if side > 0 else self.bid

    def offered(self, side: int) -> int:
        """The size on the other side that we have not taken yet."""
        if side > 0:
            return max(0, self.ask_shown - self.ask_taken)
        return max(0, self.bid_shown - self.bid_taken)

    def fills(self, side: int, count: int, limit: int) -> int:
        """The part of an order that this book would fill at once."""
        return rules.taken_at_once(side, count, limit, self.price(side), self.offered(side))

    def crosses(self, side: int, limit: int) -> bool:
        return rules.crosses(side, limit, self.bid, self.ask)

    def take(self, side: int, count: int) -> None:
        if side > 0:
            self.ask_taken += count
        else:
            self.bid_taken += count

    def taken_in(self, later: BookTop, side: int) -> int:
        """The part of what we took on a side that is still missing from a later book."""
        if side > 0:
            return rules.still_taken(self.ask_taken, self.ask, later.ask, later.ask_shown)
        return rules.still_taken(self.bid_taken, self.bid, later.bid, later.bid_shown)
