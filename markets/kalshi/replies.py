"""What wraps payloads in a reply, and replies that are about the exchange itself."""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw, Struct, field

from markets.kalshi.fields import Instant, decoder


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


exchange_status = decoder(ExchangeStatus)
account_limits = decoder(AccountLimits)


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
    for key in ("candlesticks", "events", "markets", "series", "series_fee_change_arr", "trades")
}


def envelope(body: bytes, key: str) -> Envelope:
    """The items under `key`, unread, and the cursor of the next page ("" at the end)."""
    found = _ENVELOPES[key](body)
    return Envelope(found.items, found.cursor or "")


class _SingleMarket(Struct):
    market: Raw


_read_single = decoder(_SingleMarket)


def single_market(body: bytes) -> Raw:
    return _read_single(body).market


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
