"""Envelopes around payloads, and replies about the exchange itself."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct, field

from markets.kalshi.fields import Instant, NullableList, decoder, settle_unknowns

WALL_TIME = Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$|^24:00$")


class ExchangeStatus(Struct, frozen=True):
    exchange_active: bool
    trading_active: bool
    exchange_estimated_resume_time: Instant | None = None

    def __post_init__(self) -> None:
        settle_unknowns(self)


class RateLimit(Struct, frozen=True):
    """A token bucket of the exchange: tokens refilled per second, and the most it holds."""

    refill_rate: int
    bucket_capacity: int


class AccountLimits(Struct, frozen=True):
    """The usage tier of an API key and its rate limits for reading and writing."""

    usage_tier: str
    read: RateLimit
    write: RateLimit


class HistoricalCutoff(Struct, frozen=True):
    """The instants before which markets and trades are in the historical tier, None if unknown."""

    market_settled_ts: Instant | None
    trades_created_ts: Instant | None

    def __post_init__(self) -> None:
        settle_unknowns(self)


class TradingSession(Struct, frozen=True):
    """Wall times in New York; a close at or before the opening is on the next day."""

    open_time: Annotated[str, WALL_TIME]
    close_time: Annotated[str, WALL_TIME]


class TradingWeek(Struct, frozen=True):
    """The sessions of each weekday, valid for every week between two instants.

    An instant that is None does not limit them.
    """

    start_time: Instant | None
    end_time: Instant | None
    monday: NullableList[tuple[TradingSession, ...]] = ()
    tuesday: NullableList[tuple[TradingSession, ...]] = ()
    wednesday: NullableList[tuple[TradingSession, ...]] = ()
    thursday: NullableList[tuple[TradingSession, ...]] = ()
    friday: NullableList[tuple[TradingSession, ...]] = ()
    saturday: NullableList[tuple[TradingSession, ...]] = ()
    sunday: NullableList[tuple[TradingSession, ...]] = ()

    def __post_init__(self) -> None:
        settle_unknowns(self)


class MaintenanceWindow(Struct, frozen=True):
    start_datetime: Instant | None
    end_datetime: Instant | None

    def __post_init__(self) -> None:
        settle_unknowns(self)


class ExchangeSchedule(Struct, frozen=True):
    """The exchange's planned trading hours."""

    standard_hours: NullableList[tuple[TradingWeek, ...]] = ()
    maintenance_windows: NullableList[tuple[MaintenanceWindow, ...]] = ()

    def __post_init__(self) -> None:
        settle_unknowns(self)


class _ScheduleEnvelope(Struct):
    schedule: ExchangeSchedule


exchange_status = decoder(ExchangeStatus)
account_limits = decoder(AccountLimits)
historical_cutoff = decoder(HistoricalCutoff)
_read_schedule = decoder(_ScheduleEnvelope)


def exchange_schedule(body: bytes) -> ExchangeSchedule:
    return _read_schedule(body).schedule


class Envelope(Struct):
    items: list[Raw]
    cursor: str


def _envelope_decoder(key: str) -> Callable[[bytes | Raw], Any]:
    return decoder(
        msgspec.defstruct(
            "Envelope",
            [
                ("items", list[Raw] | None, field(default=None, name=key)),
                ("cursor", str | None, ""),
            ],
        )
    )


_READ_ENVELOPE = {
    key: _envelope_decoder(key)
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
# What may stand beside a list; an envelope that lacks its list has nothing else.
_BESIDE_A_LIST = frozenset(("cursor", "milestones", "ticker"))
_read_fields = decoder(dict[str, Raw])


def envelope(body: bytes, key: str) -> Envelope:
    """Return the raw items under `key` and the cursor of the next page ("" at the end).

    A list that is null or missing is empty. A reply with other keys instead of the list raises
    ValidationError: it is an error, or the list has another name in its contract.
    """
    decoded = _READ_ENVELOPE[key](body)
    if not decoded.items:
        others = _read_fields(body).keys() - _BESIDE_A_LIST
        if others and key not in others:
            raise msgspec.ValidationError(f"Object missing required field `{key}`")
    cursor = decoded.cursor or ""
    if "\0" in cursor:  # it is stored with an unfinished sweep
        raise msgspec.ValidationError("text contains a NUL character - at `$.cursor`")
    return Envelope(decoded.items or [], cursor)


_READ_SINGLE: dict[str, Callable[[bytes | Raw], Any]] = {
    key: decoder(msgspec.defstruct("Single", [("item", Raw, field(name=key))]))
    for key in ("event", "series")
}


def single_item(body: bytes, key: str) -> Raw:
    """Return the one raw item under `key`."""
    item: Raw = _READ_SINGLE[key](body).item
    return item


class _ErrorBody(Struct):
    code: str | None = None
    message: str | None = None
    details: str | None = None
    error: "str | _ErrorBody | None" = None


_read_error = decoder(_ErrorBody)


def error_code_and_message(body: bytes) -> tuple[str, str]:
    """Return code and message of an error reply, each "" where the body has none."""
    try:
        decoded = _read_error(body)
    except msgspec.MsgspecError:
        return "", ""
    if isinstance(decoded.error, _ErrorBody):
        decoded = decoded.error
    if isinstance(decoded.error, str):
        return "", decoded.error
    return decoded.code or "", decoded.message or decoded.details or ""
