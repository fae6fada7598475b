"""A journal in dollars and contracts, each entry with its quote: the audit trail of a run."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from backtests.data.universe import MISSING, Universe, instant
from backtests.rules.execution import (
    JOURNAL_COLUMN,
    MAKER,
    REASONS,
    EntryKind,
    Reason,
    RunOutcome,
)
from backtests.rules.meetings import fills_across_gaps, meetings
from kalshi_insights.arrays import np


class JournalEntry(NamedTuple):
    """One entry, on the YES scale. `cash_change` includes the fee.

    `waited` is the time in seconds from an order's arrival to the observation that it met;
    `across_gap` says of a fill whether its order was sent before a gap that it was filled after.
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


class EntryQuote(NamedTuple):
    """The quote behind an entry, columns of a `JournalEntry`."""

    at: datetime | None = None
    yes_bid: Decimal | None = None
    yes_ask: Decimal | None = None
    yes_bid_size: Decimal | None = None
    yes_ask_size: Decimal | None = None


def entries(
    universe: Universe, outcome: RunOutcome, *, cash: int, latency: int
) -> Iterator[JournalEntry]:
    """The journal of a run whose starting cash is `cash`, in millionths of a dollar, and whose
    orders arrive `latency` microseconds after they are sent."""
    orders = meetings(universe, outcome.journal, latency=latency)
    waits = dict(zip(orders.rows.tolist(), orders.waits().tolist(), strict=True))
    across = set(fills_across_gaps(universe, outcome.journal).tolist())
    changes = np.diff(outcome.journal[:, JOURNAL_COLUMN["cash"]], prepend=cash).tolist()
    rows = zip(outcome.journal.tolist(), changes, strict=True)
    for number, (row_values, change) in enumerate(rows, start=1):
        at, kind, market, order, side, count, price, fee, liquidity, reason, row, after, held = (
            row_values
        )
        settled, filled = kind == EntryKind.SETTLED, kind == EntryKind.FILL
        yield JournalEntry(
            number,
            instant(at),
            EntryKind(kind).name.lower(),
            universe.listings[market].ticker,
            None if settled else order,
            "yes" if side > 0 else "no",
            "bid" if side > 0 else "ask",
            _repeated(count, 2),
            None if settled else _known(price, 4),
            _decimal(price, 6) if settled else None,
            _repeated(fee, 6),
            ("maker" if liquidity == MAKER else "taker") if filled else "",
            REASONS[Reason(reason)],
            _decimal(change, 6),
            _decimal(after, 6),
            _repeated(held, 2),
            *_quote(universe, row),
            _known(waits.get(number - 1, MISSING), 6),
            number - 1 in across if filled else None,
        )


def _quote(universe: Universe, row: int) -> EntryQuote:
    if row == MISSING:
        return EntryQuote()
    quotes = universe.quotes
    return EntryQuote(
        instant(int(quotes.at[row])),
        *(_known(int(side[row]), 4) for side in (quotes.bid, quotes.ask)),
        *(_known(int(size[row]), 2) for size in (quotes.bid_size, quotes.ask_size)),
    )


def _known(value: int, places: int) -> Decimal | None:
    return None if value == MISSING else _repeated(value, places)


def _decimal(value: int, places: int) -> Decimal:
    return Decimal(value).scaleb(-places)


# Prices, sizes and fees repeat.
_repeated = lru_cache(maxsize=100_000)(_decimal)
