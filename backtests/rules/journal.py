"""A journal as an accountant reads it: in dollars and contracts, each line with its quote."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import numpy as np

from backtests.data.universe import MISSING, Universe, instant
from backtests.rules.execution import JOURNAL, MAKER, REASONS, Kind, Outcome, Reason

CASH = JOURNAL.index("cash")


class Line(NamedTuple):
    """One line, on the YES scale. `cash_change` is what it moved, its fee included."""

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


class Quote(NamedTuple):
    at: datetime | None = None
    yes_bid: Decimal | None = None
    yes_ask: Decimal | None = None
    yes_bid_size: Decimal | None = None
    yes_ask_size: Decimal | None = None


def lines(universe: Universe, outcome: Outcome, *, cash: int) -> Iterator[Line]:
    """The journal of a run that began with `cash`, in millionths of a dollar."""
    changes = np.diff(outcome.journal[:, CASH], prepend=cash).tolist()
    told = zip(outcome.journal.tolist(), changes, strict=True)
    for number, (line, change) in enumerate(told, start=1):
        at, kind, market, order, side, count, price, fee, liquidity, reason, row, after, held = line
        settled, filled = kind == Kind.SETTLED, kind == Kind.FILL
        yield Line(
            number,
            instant(at),
            Kind(kind).name.lower(),
            universe.listings[market].ticker,
            None if settled else order,
            "yes" if side > 0 else "no",
            "bid" if side > 0 else "ask",
            _decimal(count, 2),
            None if settled else _known(price, 4),
            _decimal(price, 6) if settled else None,
            _decimal(fee, 6),
            ("maker" if liquidity == MAKER else "taker") if filled else "",
            REASONS[Reason(reason)],
            _decimal(change, 6),
            _decimal(after, 6),
            _decimal(held, 2),
            *_quote(universe, row),
        )


def _quote(universe: Universe, row: int) -> Quote:
    if row == MISSING:
        return Quote()
    quotes = universe.quotes
    return Quote(
        instant(int(quotes.at[row])),
        *(_known(int(side[row]), 4) for side in (quotes.bid, quotes.ask)),
        *(_known(int(size[row]), 2) for size in (quotes.bid_size, quotes.ask_size)),
    )


def _known(value: int, places: int) -> Decimal | None:
    return None if value == MISSING else _decimal(value, places)


def _decimal(value: int, places: int) -> Decimal:
    return Decimal(value).scaleb(-places)
