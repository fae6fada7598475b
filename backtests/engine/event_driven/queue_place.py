"""The place of a resting order in the queue at its price, by the rules of `queue`."""

from __future__ import annotations

from dataclasses import dataclass

from backtests.data.tape import TapeTrade
from backtests.rules.execution import FillModel
from backtests.rules.queue import (
    ENDLESS,
    level_after_trade,
    meet_trade,
    queue_after_book,
    queue_when_joining,
)
from backtests.rules.untaped import meet_evidence, split_overlap


@dataclass(slots=True)
class Overlap:
    """The trades that the volume of a row has counted, at an order's price and beyond it, some of
    which the tape may have until shortly after the row."""

    until: int
    at: int = 0
    beyond: int = 0

    def take_from(self, count: int, *, is_beyond: bool) -> int:
        """Return the part of a trade that is not counted yet."""
        left, self.at, self.beyond = split_overlap(is_beyond, count, self.at, self.beyond)
        return left


@dataclass(slots=True, eq=False)
class QueuePlace:
    """The queue before an order that arrived, met a book and joined.

    `ahead` are the contracts of others before it, `level` all of others at its price. `since` is
    the newest row or the joining, and `overlap` what the volume of a row has counted.
    """

    side: int
    limit: int
    arrived: int
    met: int
    ahead: int
    level: int
    since: int
    overlap: Overlap | None = None

    @classmethod
    def at_end(
        cls, fills: int, side: int, limit: int, *, shown: int, assumed: int, arrived: int, met: int
    ) -> QueuePlace:
        """Join the queue behind all that a book shows there."""
        ahead = queue_when_joining(fills, shown, assumed)
        return cls(side, limit, arrived, met, ahead, shown if shown >= 0 else ENDLESS, met)

    def meet_trade(self, fills: int, left: int, trade: TapeTrade, rest: int) -> int:
        """Return the part of an order that a trade fills, `rest` of which is left for it."""
        side, limit, price, taker = self.side, self.limit, trade.price, trade.taker
        count = trade.contracts  # whoever it went to, the record shows it gone
        if self.overlap and trade.at <= self.overlap.until and (limit - price) * side >= 0:
            if fills == FillModel.FEWEST:
                return 0
            count = self.overlap.take_from(count, is_beyond=price != limit)
            rest = min(rest, count)
        filled, self.ahead = meet_trade(fills, side, left, limit, self.ahead, price, rest, taker)
        self.level = level_after_trade(fills, side, limit, self.level, price, count, taker)
        return filled

    def meet_evidence(self, left: int, at: int, beyond: int) -> int:
        """Return the part of an order that is filled by what traded or was offered."""
        filled, self.ahead = meet_evidence(left, self.ahead, at, beyond)
        _, self.level = meet_evidence(0, self.level, at, beyond)
        return filled

    def see(self, fills: int, shown: int, at: int) -> None:
        """Bound the queue by the book of a row."""
        self.ahead = queue_after_book(fills, self.ahead, self.level, shown)
        self.level = shown if shown >= 0 else self.level
        self.since = at
