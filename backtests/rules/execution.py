"""Order execution against recorded books: the rules that both engines share.

A market was observed at instants, and its book is known at these alone. So an order meets the
first observation at or after its arrival, takes no more than a book showed, and what it took stays
gone until a later book shows a refill. When the book moved between two observations, nobody knows;
nor can the top of a book tell how a resting order would have been filled. Hence there are three
fill models, and every run on which they differ reports all three.

The functions below the model are compiled for the kernel too: they take plain integers and call
nothing. Units are those of `Quotes`.
"""

from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

from backtests.data.universe import CONTRACT, MISSING, SECOND, Ints
from kalshi_insights.arrays import np

# A target that keeps whatever position is held.
HOLD = -(2**63)


class FillModel(IntEnum):
    """The models of what nobody knows.

    Of two books that a taker may have met, it takes the one that fills fewer contracts (of equal
    ones, at the worse price), the later one, or the other. A resting order is filled by what is
    sure to have come to it (see `untaped`), by what is likely or by what is possible; of what left
    the queue without trading, none stood before it, its share, or all (see `queue`).
    """

    FEWEST = 0
    EXPECTED = 1
    MOST = 2

    @property
    def word(self) -> str:
        """The word under which results are stored and shown."""
        return self.name.lower()


class EntryKind(IntEnum):
    """The kind of a journal entry."""

    ORDER = 0
    FILL = 1
    REFUSED = 2
    CANCELLED = 3
    SETTLED = 4


class Reason(IntEnum):
    """The reason for refusing an order, or for cancelling the rest of it."""

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
    GAP = 15
    UNSEEN = 16
    SELF_TRADE = 17
    RUN_ENDED = 18
    GONE = 19


REASONS = {
    Reason.NONE: "",
    Reason.NOT_TRADING: "the market is not trading",
    Reason.OFF_GRID: "the price is not on the market's grid",
    Reason.OUT_OF_RANGE: "the price is not between 0 and 1 dollar",
    Reason.POSITION_LIMIT: "the position would exceed the run's limit",
    Reason.FUNDS: "not enough cash",
    Reason.UNFILLED: "nothing more was offered at this price",
    Reason.EXPIRED: "the market was not observed in time",
    Reason.WOULD_CROSS: "post-only, and it would have traded at once",
    Reason.REPLACED: "replaced by another order",
    Reason.CLOSED: "trading paused or closed",
    Reason.ENDED: "the market was settled",
    Reason.ASKED: "the strategy cancelled it",
    Reason.TOO_LARGE: "more contracts than a fee can be computed for",
    Reason.MEANWHILE: "the order that it replaces was filled first",
    Reason.GAP: "a gap in the observations began",
    Reason.UNSEEN: "trading ended before the market was observed again",
    Reason.SELF_TRADE: "it would have traded with another order of the run",
    Reason.RUN_ENDED: "unfinished: the run ended before the market was observed again",
    Reason.GONE: "the order that it amends was not at rest",
}

TAKER, MAKER = 0, 1

# The columns of a journal: integers, one row for each entry. `order` numbers the run's orders,
# `row` is the row of `Quotes` behind the entry, `cash` and `position` are those after it. An order
# was sent at the instant of its first entry, arrived after the run's latency, and met its
# observation, or ended without one, at the instant of its next entry.
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
JOURNAL_COLUMN = {name: column for column, name in enumerate(JOURNAL)}


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """The journal of a run (see `JOURNAL`), and its cash and positions at the end.

    A settlement's entry has the settlement value of YES, in millionths of a dollar, in place of a
    price. Without `has_band`, nothing depended on the fill model: no order rested, and none met
    two books that would have filled it differently. `amended_at_once` are the orders of amendments
    that took effect as they arrived, and met no observation.
    """

    journal: Ints
    cash: int
    positions: dict[int, int]
    has_band: bool = False
    amended_at_once: frozenset[int] = frozenset()

    def on_rows(self, rows: Ints) -> "RunOutcome":
        """Return the same outcome, where row `n` of the quotes is a copy of row `rows[n]`."""
        if np.array_equal(rows, np.arange(len(rows))):
            return self
        journal = self.journal.copy()
        row = journal[:, JOURNAL_COLUMN["row"]]
        journal[:, JOURNAL_COLUMN["row"]] = np.append(rows, MISSING)[row]
        return replace(self, journal=journal)


class AcrossGaps(StrEnum):
    """The end of an order that is on its way when a gap in the observations begins."""

    EXPIRE = "expire"
    WAIT = "wait"


class SelfTradePrevention(StrEnum):
    """The order that is cancelled where two orders of the run would trade: as on Kalshi, the rest
    of the incoming one, or the resting one."""

    TAKER_AT_CROSS = "taker_at_cross"
    MAKER = "maker"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionModel:
    """The execution model of a run, which is stored with it.

    An order arrives `latency_seconds` after its decision, at least a microsecond, and meets the
    first observation from then on. It expires after `patience_seconds` without one, and where
    `across_gaps` says so, as soon as a gap in the observations begins. `assumed_size` (contracts)
    replaces unknown sizes of offers; without it they fill nothing. `make` joins the best price on
    the order's own side and waits, instead of taking the other side's price; `assumed_queue`
    (contracts) is the queue there where its size is unknown, endless without it. `clock_tolerance`
    (seconds) is how far the exchange's clock and the record's may differ. `through_broker` rounds
    fees to cents.
    """

    latency_seconds: float = 1.0
    patience_seconds: float = 7_200.0
    across_gaps: str = AcrossGaps.EXPIRE
    assumed_size: int | None = None
    assumed_queue: int | None = None
    clock_tolerance: float = 1.0
    position_limit: int | None = None
    make: bool = False
    through_broker: bool = False

    @property
    def latency(self) -> int:
        """The way of an order in microseconds; it never arrives at its decision's instant."""
        return max(1, round(self.latency_seconds * SECOND))

    @property
    def patience(self) -> int:
        return round(self.patience_seconds * SECOND)

    @property
    def expires_at_gaps(self) -> bool:
        return self.across_gaps == AcrossGaps.EXPIRE

    @property
    def assumed(self) -> int:
        """The assumed size in 1/100 contract; 0 where unknown sizes fill nothing."""
        return (self.assumed_size or 0) * CONTRACT

    @property
    def queue(self) -> int:
        """The assumed queue in 1/100 contract; `MISSING` where an unknown queue is endless."""
        return MISSING if self.assumed_queue is None else self.assumed_queue * CONTRACT

    @property
    def tolerance(self) -> int:
        return round(self.clock_tolerance * SECOND)

    @property
    def limit(self) -> int:
        """The position limit in 1/100 contract; `MISSING` without one."""
        return MISSING if self.position_limit is None else self.position_limit * CONTRACT


def end_of_way(arrival: int, meeting: int, patience: int, gap: int, last: int) -> tuple[int, int]:
    """The instant at which an order is no longer on its way, and the reason if it met no book.

    `meeting` is its observation, and at `gap` a gap catches it; `AFTER_ALL` where there is none.
    What is on its way at the `last` instant of a run is unfinished.
    """
    end, reason = meeting, 0
    if meeting - arrival > patience:
        end, reason = arrival + patience, 7  # EXPIRED
    if gap < end:
        end, reason = gap, 15  # GAP
    if end > last:
        end, reason = last + 1, 18  # RUN_ENDED
    return end, reason


def taken_at_once(side: int, count: int, limit: int, price: int, offered: int) -> int:
    """The part of an order that a book fills, with `offered` at its best `price` for a taker."""
    if price < 0 or (limit - price) * side < 0:
        return 0
    return min(count, max(0, offered))


def differ(filled_before: int, price_before: int, filled: int, price: int) -> bool:
    """Return whether it matters which of two books an order met."""
    return filled_before != filled or (filled > 0 and price_before != price)


def meets_earlier(
    fills: int, side: int, filled_before: int, price_before: int, filled: int, price: int
) -> bool:
    """Return whether a taker takes the earlier of two books that differ."""
    if fills == 1:
        return False
    worse = (price_before - price) * side > 0 if filled_before == filled else filled_before < filled
    return worse == (fills == 0)


def is_refused_post_only(fills: int, crossed_before: bool, crosses_now: bool) -> bool:
    """Return whether a post-only order counts as one that would have traded at once.

    Fewest fills takes it so where one of the two books crosses, most fills where both do.
    """
    if fills == 0:
        return crossed_before or crosses_now
    return crosses_now and (fills == 1 or crossed_before)


def offered_size(size: int, price: int, assumed: int) -> int:
    """The size that a side of a book offers."""
    if price < 0:
        return 0
    return assumed if size < 0 else size


def still_taken(taken: int, price_before: int, price: int, now: int) -> int:
    """The part of what we took that is still missing from the `now` shown by a new book.

    The record does not know of our orders, so it shows what we took until somebody else takes it;
    anything on top of that is a refill. Another best price is another level.
    """
    return min(taken, now) if price == price_before else 0


def traded_between(before: int, volume: int) -> int:
    """The volume between two books, 0 where one of them does not tell."""
    if before < 0 or volume < 0:
        return 0
    return max(0, volume - before)


def exceeds_limit(limit: int, position: int, side: int, count: int) -> bool:
    """Return whether an order would take a position further beyond the run's limit."""
    held = abs(position + side * count)
    return limit >= 0 and held > limit and held > abs(position)


def crosses(side: int, limit: int, bid: int, ask: int) -> bool:
    """Return whether an order would trade with the book."""
    if side > 0:
        return 0 <= ask <= limit
    return bid >= 0 and bid >= limit


def on_grid(price: int, start: int, end: int, step: int) -> bool:
    """Return whether a price lies on one range of a price grid."""
    return start <= price <= end and (price - start) % step == 0
