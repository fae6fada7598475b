"""A journal in dollars and contracts, each entry with its quote: the audit trail of a run."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

from backtests.data.universe import MISSING, Ints, Universe, instant
from backtests.rules.execution import (
    JOURNAL_COLUMN,
    MAKER,
    REASONS,
    TAKER,
    EntryKind,
    RunOutcome,
)
from backtests.rules.meetings import fills_across_gaps, meetings
from kalshi_insights.arrays import np

V = TypeVar("V")
AT_ONCE = 100_000  # entries that are made at a time
KINDS = {int(kind): kind.name.lower() for kind in EntryKind}
WORDS = {int(reason): words for reason, words in REASONS.items()}
LIQUIDITY = {TAKER: "taker", MAKER: "maker"}


class JournalEntry(NamedTuple):
    """One entry, on the YES scale. `cash_change` includes the fee.

    `waited` is the time in seconds from an order's arrival to the observation that it met;
    `across_gap` says of a fill whether its order was sent before a gap that it was filled after;
    `stated_reason` is the strategy's own, of the entry's order.
    """

    number: int
    at: datetime
    kind: str
    ticker: str
    order: int | None
    outcome_side: str
    book_side: str
    contracts: Decimal
    price: Decimal | None
    settlement_value: Decimal | None
    fee: Decimal
    liquidity: str
    reason: str
    cash_change: Decimal
    cash: Decimal
    position: Decimal
    quote_at: datetime | None
    yes_bid: Decimal | None
    yes_ask: Decimal | None
    yes_bid_size: Decimal | None
    yes_ask_size: Decimal | None
    waited: Decimal | None
    across_gap: bool | None
    stated_reason: str


def entries(
    universe: Universe, outcome: RunOutcome, *, cash: int, latency: int
) -> Iterator[JournalEntry]:
    """The journal of a run whose starting cash is `cash`, in millionths of a dollar, and whose
    orders arrive `latency` microseconds after they are sent."""
    orders = meetings(universe, outcome, latency=latency)
    waited = np.full(len(outcome.journal), MISSING)
    waited[orders.rows] = orders.waits()
    across = np.zeros(len(outcome.journal), np.bool_)
    across[fills_across_gaps(universe, outcome.journal, orders)] = True
    stated, numbers = outcome.annotations.reasons, outcome.journal[:, JOURNAL_COLUMN["order"]]
    changes = np.diff(outcome.journal[:, JOURNAL_COLUMN["cash"]], prepend=cash)
    for first in range(0, len(outcome.journal), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        columns = _columns(universe, outcome.journal[part], changes[part])
        yield from map(
            JournalEntry._make,
            zip(
                range(first + 1, first + 1 + len(outcome.journal[part])),
                *columns,
                _decimals(waited[part], 6),
                _fills_only(outcome.journal[part], across[part].tolist()),
                [stated.get(order, "") for order in numbers[part].tolist()],
                strict=True,
            ),
        )


def _columns(universe: Universe, journal: Ints, changes: Ints) -> Iterator[Iterable[Any]]:
    """The columns of a `JournalEntry` from `at` to `yes_ask_size`."""
    line = {name: journal[:, column] for name, column in JOURNAL_COLUMN.items()}
    settled, buys = line["kind"] == EntryKind.SETTLED, line["side"] > 0
    yield _instants(line["at"])
    yield [KINDS[kind] for kind in line["kind"].tolist()]
    yield [universe.listings[market].ticker for market in line["market"].tolist()]
    yield [None if order == MISSING else order for order in line["order"].tolist()]
    yield np.where(buys, "yes", "no").tolist()
    yield np.where(buys, "bid", "ask").tolist()
    yield _decimals(line["count"], 2)
    yield _decimals(np.where(settled, MISSING, line["price"]), 4)
    yield _decimals(np.where(settled, line["price"], MISSING), 6)
    yield _decimals(line["fee"], 6)
    yield [word or "" for word in _fills_only(journal, [LIQUIDITY[n] for n in line["liquidity"]])]
    yield [WORDS[reason] for reason in line["reason"].tolist()]
    yield _decimals(changes, 6, missing=None)
    yield _decimals(line["cash"], 6)
    yield _decimals(line["position"], 2, missing=None)
    yield from _quotes(universe, line["row"])


def _quotes(universe: Universe, rows: Ints) -> Iterator[list[Any]]:
    """The quotes behind entries; of one without a row, nothing is known."""
    quotes, known = universe.quotes, rows != MISSING
    names = ("at", "bid", "ask", "bid_size", "ask_size")
    at, *sides = (
        np.where(known, np.append(getattr(quotes, name), MISSING)[rows], MISSING) for name in names
    )
    yield _instants(at)
    for side, places in zip(sides, (4, 4, 2, 2), strict=True):
        yield _decimals(side, places)


def _fills_only(journal: Ints, values: Sequence[V]) -> list[V | None]:
    filled = (journal[:, JOURNAL_COLUMN["kind"]] == EntryKind.FILL).tolist()
    return [value if fill else None for value, fill in zip(values, filled, strict=True)]


def _instants(at: Ints) -> list[datetime | None]:
    return _each(at, lambda each: None if each == MISSING else instant(each))


def _decimals(values: Ints, places: int, missing: int | None = MISSING) -> list[Decimal | None]:
    """Decimals with so many places; None for what is `missing`."""
    return _each(values, lambda n: None if n == missing else Decimal(n).scaleb(-places))


def _each(values: Ints, make: Callable[[int], V]) -> list[V]:
    """Make something of each value, once of those that repeat."""
    distinct, place = np.unique(values, return_inverse=True)
    made = [make(value) for value in distinct.tolist()]
    return [made[n] for n in place.tolist()]
