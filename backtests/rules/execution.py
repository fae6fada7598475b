"""How orders meet the books of a record: the rules, once, for both engines.

A record shows the top of a book at instants. So an order meets the first book of its market that
was seen once its latency is over, takes no more than was shown there, and what it took stays
gone until the book is seen to refill. Whether an order that rests would have been filled, nobody
can tell from the top of a book; hence three models of it, and every run reports all three.

The functions below the model are compiled for the kernel as well: plain integers, calling
nothing. Units are those of `quotes`.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from backtests.data.universe import CONTRACT, MISSING, SECOND, Ints

# A target that is no wish: whatever is held, is held on.
HOLD = int(np.iinfo(np.int64).min)


class Fills(IntEnum):
    """When an order that rests is filled: once the market went through its price, in proportion
    to the queue at its price, or as soon as its price is touched."""

    PESSIMISTIC = 0
    EXPECTED = 1
    OPTIMISTIC = 2


class Kind(IntEnum):
    """What a line of the journal tells."""

    ORDER = 0
    FILL = 1
    REFUSED = 2
    CANCELLED = 3
    SETTLED = 4


class Reason(IntEnum):
    """Why an order was refused, or its rest cancelled."""

    NONE = 0
    NOT_TRADING = 1
    OFF_GRID = 2
    OUT_OF_RANGE = 3
    POSITION_LIMIT = 4
    FUNDS = 5
    UNFILLED = 6
    EXPIRED = 7
    WOULD_CROSS = 8
    REPLACED = 9
    CLOSED = 10
    ENDED = 11
    ASKED = 12
    TOO_LARGE = 13
    MEANWHILE = 14


REASONS = {
    Reason.NONE: "",
    Reason.NOT_TRADING: "the market is not trading",
    Reason.OFF_GRID: "the price is not on the market's grid",
    Reason.OUT_OF_RANGE: "a price lies between 0 and 1 dollar",
    Reason.POSITION_LIMIT: "the position would exceed the run's limit",
    Reason.FUNDS: "not enough cash",
    Reason.UNFILLED: "nothing more was offered at this price",
    Reason.EXPIRED: "no book was seen in time",
    Reason.WOULD_CROSS: "post-only, and it would have traded at once",
    Reason.REPLACED: "replaced by another order",
    Reason.CLOSED: "trading paused or closed",
    Reason.ENDED: "the market was settled",
    Reason.ASKED: "the strategy cancelled it",
    Reason.TOO_LARGE: "more contracts than a fee can be computed for",
    Reason.MEANWHILE: "the order it replaces was filled on the way",
}

TAKER, MAKER = 0, 1

# The columns of a journal: integers, one line for each thing that happened. `order` numbers the
# run's orders, `row` is the row of `Quotes` it was made on, `cash` and `position` are after it.
JOURNAL = (
    "at",
    "kind",
    "market",
    "order",
    "side",
    "count",
    "price",
    "fee",
    "liquidity",
    "reason",
    "row",
    "cash",
    "position",
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run: its journal (see `JOURNAL`), cash and positions at the end.

    A settlement's line has the value of YES, in millionths of a dollar, where others have a
    price.
    """

    journal: Ints
    cash: int
    positions: dict[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a run trades; stored with it.

    `latency_snapshots` books of its market and `latency_seconds` pass until an order is met;
    after `patience_seconds` without a book it expires. `assumed_size` (contracts) stands in for
    sizes that are unknown; without it they fill nothing. `make` joins the best price on its own
    side and waits, instead of paying the other side's. `through_broker` rounds fees to cents.
    """

    latency_snapshots: int = 1
    latency_seconds: float = 0.0
    patience_seconds: float = 7_200.0
    assumed_size: int | None = None
    position_limit: int | None = None
    make: bool = False
    through_broker: bool = False

    @property
    def latency(self) -> int:
        return round(self.latency_seconds * SECOND)

    @property
    def patience(self) -> int:
        return round(self.patience_seconds * SECOND)

    @property
    def assumed(self) -> int:
        """In 1/100 contract; 0 where unknown sizes fill nothing."""
        return (self.assumed_size or 0) * CONTRACT

    @property
    def limit(self) -> int:
        """In 1/100 contract; `MISSING` where there is none."""
        return MISSING if self.position_limit is None else self.position_limit * CONTRACT


def shown(size: int, price: int, assumed: int) -> int:
    """How much a side of the book offers."""
    if price < 0:
        return 0
    return assumed if size < 0 else size


def still_taken(taken: int, price_before: int, price: int, now: int) -> int:
    """What of our own takings is missing from the `now` shown on the side of a new book.

    The record never knew of us, so it shows what we took until somebody else takes it there;
    what comes on top is a refill. Another best price is another level.
    """
    return min(taken, now) if price == price_before else 0


def traded(before: int, volume: int) -> int:
    """What traded between two books, where both tell."""
    if before < 0 or volume < 0:
        return 0
    return max(0, volume - before)


def exceeds(limit: int, position: int, side: int, count: int) -> bool:
    """Whether an order would take a position further beyond the run's limit."""
    held = abs(position + side * count)
    return limit >= 0 and held > limit and held > abs(position)


def crosses(side: int, limit: int, bid: int, ask: int) -> bool:
    """Whether an order would trade with the book."""
    if side > 0:
        return 0 <= ask <= limit
    return bid >= 0 and bid >= limit


def made(
    fills: int,
    side: int,
    left: int,
    limit: int,
    opposite: int,
    offered: int,
    last: int,
    traded: int,
    ahead: int,
) -> int:
    """How much of a resting order's `left` fills, given what the newest book shows.

    Evidence is the other side's best price (`opposite`, `offered` there) and what traded since
    the book before (`traded`, the last of it at `last`). `ahead` is what rested at its price
    before it; below zero, unknown.
    """
    touch = through = 0
    if opposite >= 0 and (limit - opposite) * side >= 0:
        touch = offered
        if opposite != limit:
            through = offered
    if traded > 0 and last >= 0 and (limit - last) * side >= 0:
        touch = max(touch, traded)
        if last != limit:
            through = max(through, traded)
    if fills == 0:
        return min(left, through)
    if fills == 2:
        return min(left, touch)
    share = touch * left // (left + ahead) if ahead >= 0 else 0
    return min(left, max(through, share))


def on_grid(price: int, start: int, end: int, step: int) -> bool:
    """Whether a price lies on one stretch of a grid."""
    return start <= price <= end and (price - start) % step == 0


def ahead(side: int, limit: int, best: int, shown: int) -> int:
    """What rests at an order's price before it; below zero where the book does not show it."""
    if best < 0 or (limit - best) * side > 0:
        return 0
    if limit == best and shown > 0:
        return shown
    return -1
