"""Candlesticks of both tiers of the exchange, whose keys differ, parsed into one struct."""

import re
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from markets.kalshi.fields import (
    EARLIEST,
    Count,
    NullableList,
    Price,
    Ticker,
    decoder,
    settle_unknowns,
)

UnixSeconds = Annotated[int, Meta(ge=int(EARLIEST.timestamp()), le=2**33)]


class QuoteOHLC(Struct, frozen=True):
    """OHLC of the bid or the ask. A bid of 0 and an ask of 1 stand for an empty side."""

    open: Price
    low: Price
    high: Price
    close: Price


class TradeOHLC(Struct, frozen=True):
    """OHLC and mean of the trades, None without trades; `previous` is the last price before."""

    open: Price | None = None
    low: Price | None = None
    high: Price | None = None
    close: Price | None = None
    mean: Price | None = None
    previous: Price | None = None


class CandlestickPayload(Struct, frozen=True, kw_only=True):
    """One period, which includes its end, with the keys of the historical tier.

    `end_period_ts` is in Unix seconds. Volume and open interest are None where they are left blank.
    """

    end_period_ts: UnixSeconds
    yes_bid: QuoteOHLC
    yes_ask: QuoteOHLC
    price: TradeOHLC
    volume: Count | None
    open_interest: Count | None


class _MarketCandlesticks(Struct):
    market_ticker: Ticker
    candlesticks: NullableList[tuple[Raw, ...]] = ()

    def __post_init__(self) -> None:
        settle_unknowns(self)


class _CandlestickBatch(Struct):
    markets: NullableList[tuple[_MarketCandlesticks, ...]] = ()

    def __post_init__(self) -> None:
        settle_unknowns(self)


_read_batch = decoder(_CandlestickBatch)


def batch_candlesticks(body: bytes) -> dict[str, Sequence[Raw]]:
    """Return raw candlesticks by ticker, so that one bad candlestick does not spoil the others."""
    return {market.market_ticker: market.candlesticks for market in _read_batch(body).markets}


def _dollars(name: str) -> str:
    return f"{name}_dollars"


class _LiveQuoteOHLC(Struct, rename=_dollars):
    open: Price
    low: Price
    high: Price
    close: Price


class _LiveTradeOHLC(Struct, rename=_dollars):
    open: Price | None = None
    low: Price | None = None
    high: Price | None = None
    close: Price | None = None
    mean: Price | None = None
    previous: Price | None = None


class _LiveCandlestick(Struct):
    end_period_ts: UnixSeconds
    yes_bid: _LiveQuoteOHLC
    yes_ask: _LiveQuoteOHLC
    price: _LiveTradeOHLC
    volume_fp: Count | None
    open_interest_fp: Count | None


class _OHLCKeys(Struct):
    yes_bid: dict[str, Raw]
    yes_ask: dict[str, Raw]
    price: dict[str, Raw]


_read_keys = decoder(dict[str, Raw])
_read_ohlc_keys = decoder(_OHLCKeys)
_read_live = decoder(_LiveCandlestick)
_read_historical = decoder(CandlestickPayload)

HISTORICAL_KEYS = {"volume", "open_interest"} | {
    f"{side}.{name}" for side in _OHLCKeys.__struct_fields__ for name in TradeOHLC.__struct_fields__
}
LIVE_KEYS = {"volume_fp", "open_interest_fp"} | {
    _dollars(name) for name in HISTORICAL_KEYS if "." in name
}
_KEY_WITHOUT_UNIT = re.compile(
    rb'"(?:volume|open_interest|open|low|high|close|mean|previous)"'
).search


def candlestick(raw: bytes | Raw) -> CandlestickPayload:
    """Parse a candlestick of either tier; the live tier's keys of numbers end in a unit."""
    text = bytes(raw)
    is_live = b'_fp"' in text or b'_dollars"' in text
    if is_live and _KEY_WITHOUT_UNIT(text):
        check_one_spelling(raw)
    if not is_live:
        return _read_historical(raw)
    live = _read_live(raw)
    return CandlestickPayload(
        end_period_ts=live.end_period_ts,
        yes_bid=QuoteOHLC(*msgspec.structs.astuple(live.yes_bid)),
        yes_ask=QuoteOHLC(*msgspec.structs.astuple(live.yes_ask)),
        price=TradeOHLC(*msgspec.structs.astuple(live.price)),
        volume=live.volume_fp,
        open_interest=live.open_interest_fp,
    )


def check_one_spelling(raw: bytes | Raw) -> None:
    """Refuse a candlestick with the keys of both tiers.

    Otherwise a price under the other tier's key would be taken for a missing one.
    """
    keys = _keys(raw)
    live, historical = keys & LIVE_KEYS, keys & HISTORICAL_KEYS
    if live and historical:
        raise msgspec.ValidationError(
            f"Expected one spelling, got `{min(live)}` too - at `$.{min(historical)}`"
        )


def _keys(raw: bytes | Raw) -> set[str]:
    ohlc_keys = _read_ohlc_keys(raw)
    keys = set(_read_keys(raw))
    for side in _OHLCKeys.__struct_fields__:
        keys |= {f"{side}.{key}" for key in getattr(ohlc_keys, side)}
    return keys


class _PeriodEnd(Struct):
    end_period_ts: UnixSeconds


_read_period_end = decoder(_PeriodEnd)


def period_end(raw: bytes | Raw) -> int | None:
    """Return the end of a candlestick that cannot be parsed, in Unix seconds; None if unknown."""
    try:
        return _read_period_end(raw).end_period_ts
    except msgspec.MsgspecError:
        return None
