"""What wraps payloads in a reply, and replies that are about the exchange itself."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct, field

from markets.kalshi.fields import Instant, decoder

WALL_TIME = Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$")


class ExchangeStatus(Struct, frozen=True):
    exchange_active: bool
    trading_active: bool
    exchange_estimated_resume_time: Instant | None = None


class Bucket(Struct, frozen=True):
    refill_rate: int
    bucket_capacity: int


class AccountLimits(Struct, frozen=True):
    """The tier of a key and what it may spend, in tokens."""

    usage_tier: str
    read: Bucket
    write: Bucket


class Cutoff(Struct, frozen=True):
    """What is older than these instants lives in the historical tier."""

    market_settled_ts: Instant
    trades_created_ts: Instant


class Session(Struct, frozen=True):
    """Wall times in New York; a close at or before the opening is on the next day."""

    open_time: Annotated[str, WALL_TIME]
    close_time: Annotated[str, WALL_TIME]


class Week(Struct, frozen=True):
    """The hours of every week between two instants."""

    start_time: Instant
    end_time: Instant
    monday: tuple[Session, ...]
    tuesday: tuple[Session, ...]
    wednesday: tuple[Session, ...]
    thursday: tuple[Session, ...]
    friday: tuple[Session, ...]
    saturday: tuple[Session, ...]
    sunday: tuple[Session, ...]


class MaintenanceWindow(Struct, frozen=True):
    start_datetime: Instant
    end_datetime: Instant


class Schedule(Struct, frozen=True):
    """When the exchange means to trade."""

    standard_hours: tuple[Week, ...]
    maintenance_windows: tuple[MaintenanceWindow, ...]


class _ScheduleEnvelope(Struct):
    schedule: Schedule


exchange_status = decoder(ExchangeStatus)
account_limits = decoder(AccountLimits)
cutoff = decoder(Cutoff)
_read_schedule = decoder(_ScheduleEnvelope)


def exchange_schedule(body: bytes) -> Schedule:
    return _read_schedule(body).schedule


class Envelope(Struct):
    items: list[Raw]
    cursor: str


def _envelope(key: str) -> Callable[[bytes | Raw], Any]:
    return decoder(
        msgspec.defstruct(
            "Envelope",
            [("items", list[Raw], field(name=key)), ("cursor", str | None, None)],
        )
    )


_ENVELOPES = {
    key: _envelope(key)
    for key in (
        "candlesticks",
        "event_fee_changes",
        "events",
        "markets",
        "series",
        "series_fee_change_arr",
        "trades",
    )
}


def envelope(body: bytes, key: str) -> Envelope:
    """The items under `key`, unread, and the cursor of the next page ("" at the end)."""
    found = _ENVELOPES[key](body)
    return Envelope(found.items, found.cursor or "")


_SINGLES: dict[str, Callable[[bytes | Raw], Any]] = {
    key: decoder(msgspec.defstruct("Single", [("item", Raw, field(name=key))]))
    for key in ("event", "market", "series")
}


def single(body: bytes, key: str) -> Raw:
    """The one item under `key`, unread."""
    item: Raw = _SINGLES[key](body).item
    return item


class _Error(Struct):
    code: str | None = None
    message: str | None = None
    details: str | None = None
    error: "str | _Error | None" = None


_read_error = decoder(_Error)


def error(body: bytes) -> tuple[str, str]:
    """Code and message of a refusal, as far as the body has them; both may be ""."""
    try:
        found = _read_error(body)
    except msgspec.MsgspecError:
        return "", ""
    if isinstance(found.error, _Error):
        found = found.error
    if isinstance(found.error, str):
        return "", found.error
    return found.code or "", found.message or found.details or ""
