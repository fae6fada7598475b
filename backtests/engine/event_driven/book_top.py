"""The top of a book as one row showed it."""

from __future__ import annotations

from dataclasses import dataclass

from backtests.data.universe import MISSING
from backtests.rules import execution as rules
from backtests.rules.queue import shown_at


@dataclass(slots=True, eq=False)
class BookTop:
    """The best prices of a book with the sizes that were shown, and what we took of them.

    `bid_size` and `ask_size` are as recorded, `bid_shown` and `ask_shown` as a run takes them, and
    `bid_fresh` and `ask_fresh` that part of them which the book before did not show.
    """

    row: int = MISSING
    bid: int = MISSING
    ask: int = MISSING
    bid_size: int = MISSING
    ask_size: int = MISSING
    bid_shown: int = 0
    ask_shown: int = 0
    bid_fresh: int = 0
    ask_fresh: int = 0
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

    def fresh(self, side: int) -> int:
        """The newly offered size on the other side, as far as no order of ours was filled by it."""
        return self.ask_fresh if side > 0 else self.bid_fresh

    def use_fresh(self, side: int, count: int) -> None:
        """Use new offers, which are gone then for takers as well."""
        used = min(count, self.fresh(side))
        if side > 0:
            self.ask_fresh -= used
        else:
            self.bid_fresh -= used
        self.take(side, min(used, self.offered(side)))

    def queue_shown(self, side: int, limit: int) -> int:
        """The contracts of others at an order's price; below zero where they are not shown."""
        if side > 0:
            return shown_at(side, limit, self.bid, self.bid_size)
        return shown_at(side, limit, self.ask, self.ask_size)

    def fills(self, side: int, count: int, limit: int) -> int:
        """The part of an order that this book would fill at once."""
        return rules.taken_at_once(side, count, limit, self.price(side), self.offered(side))

    def stands(self, side: int, count: int, limit: int) -> int:
        """The part of a resting order that would meet what this book is known to offer."""
        size, taken = (
            (self.ask_size, self.ask_taken) if side > 0 else (self.bid_size, self.bid_taken)
        )
        return rules.taken_at_once(side, count, limit, self.price(side), size - taken)

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
