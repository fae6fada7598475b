"""Definitions of markets and events as plain rows, for those who read very many."""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple


class DefinedMarket(NamedTuple):
    """A market with what its event and series say of it; price ranges are JSON."""

    id: int
    ticker: str
    title: str
    yes_sub_title: str
    strike_type: str
    floor_strike: Decimal | None
    cap_strike: Decimal | None
    close_time: datetime | None
    event_id: int
    event: str
    event_title: str
    mutually_exclusive: bool | None
    series: str
    category: str
    price_ranges: str


# The columns of a `DefinedMarket`, without the last.
DEFINED_MARKET = (
    *DefinedMarket._fields[:9],
    "event__ticker",
    "event__title",
    "event__mutually_exclusive",
    "event__series__ticker",
    "event__series__category",
)


class RevisedMarket(NamedTuple):
    """A market as known from an instant on; price ranges are JSON."""

    market_id: int
    known_at: datetime
    known_at_assumed: bool
    status: str
    result: str
    settlement_value: Decimal | None
    settlement_ts: datetime | None
    close_time: datetime | None
    price_ranges: str


# The columns of a `RevisedMarket`, without the last.
REVISED_MARKET = RevisedMarket._fields[:-1]


class RevisedEvent(NamedTuple):
    """An event as known from an instant on."""

    event_id: int
    known_at: datetime
    title: str
    mutually_exclusive: bool | None
