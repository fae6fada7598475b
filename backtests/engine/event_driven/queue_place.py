"""The place of a resting order in the queue at its price, by the rules of `queue`."""

from __future__ import annotations

from dataclasses import dataclass

from backtests.data.tape import TapeTrade
from backtests.rules.queue import (
    ENDLESS,
    level_after_trade,
    meet_trade,
    queue_after_book,
    queue_when_joining,
)
from backtests.rules.untaped import meet_evidence


@dataclass(slots=True, eq=False)
class QueuePlace:
    """The queue before an order that arrived, met a book and joined.

    `ahead` are the contracts of others before it, `level` all of others at its price. `taped` is
    what the tape says to have traded since `since`, which is the newest row or the joining.
    """

    side: int
    limit: int
    arrived: int
    met: int
    ahead: int
    level: int
    since: int
    taped: int = 0

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
        filled, self.ahead = meet_trade(fills, side, left, limit, self.ahead, price, rest, taker)
        count = trade.contracts  # whoever it went to, the record shows it gone
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
        self.since, self.taped = at, 0
