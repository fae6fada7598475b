"""Candles, which the two tiers of the exchange spell in two ways, read into one struct."""

import re
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from markets.kalshi.fields import Count, Price, Ticker, decoder

Second = Annotated[int, Meta(ge=0, le=2**33)]


class QuoteRange(Struct, frozen=True):
    """How one side moved within a period. A bid of 0 and an ask of 1 stand for an empty side."""

    open: Price
    low: Price
    high: Price
    close: Price


class TradeRange(Struct, frozen=True):
    """How trades moved within a period; all but `previous` None where nothing traded."""

    open: Price | None = None
    low: Price | None = None
    high: Price | None = None
    close: Price | None = None
    mean: Price | None = None
    previous: Price | None = None


class CandlestickPayload(Struct, frozen=True, kw_only=True):
    """One period, `end_period_ts` (seconds, UTC) included, as the historical tier spells it."""

    end_period_ts: Second
    yes_bid: QuoteRange
    yes_ask: QuoteRange
    price: TradeRange
    volume: Count
    open_interest: Count


class _MarketCandlesticks(Struct):
    market_ticker: Ticker
    candlesticks: list[Raw]


class _Batch(Struct):
    markets: list[_MarketCandlesticks]


_read_batch = decoder(_Batch)


def batch_candlesticks(body: bytes) -> dict[str, list[Raw]]:
    """Each market's periods by its ticker, unread, so that a bad one costs no other."""
    return {market.market_ticker: market.candlesticks for market in _read_batch(body).markets}


def _dollars(name: str) -> str:
    return f"{name}_dollars"


class _LiveQuoteRange(Struct, rename=_dollars):
    open: Price
    low: Price
    high: Price
    close: Price


class _LiveTradeRange(Struct, rename=_dollars):
    open: Price | None = None
    low: Price | None = None
    high: Price | None = None
    close: Price | None = None
    mean: Price | None = None
    previous: Price | None = None


class _LiveCandlestick(Struct):
    end_period_ts: Second
    yes_bid: _LiveQuoteRange
    yes_ask: _LiveQuoteRange
    price: _LiveTradeRange
    volume_fp: Count
    open_interest_fp: Count


class _Ranges(Struct):
    yes_bid: dict[str, Raw]
    yes_ask: dict[str, Raw]
    price: dict[str, Raw]


_read_keys = decoder(dict[str, Raw])
_read_ranges = decoder(_Ranges)
_read_live = decoder(_LiveCandlestick)
_read_historical = decoder(CandlestickPayload)

HISTORICAL_NAMES = {"volume", "open_interest"} | {
    f"{side}.{name}" for side in _Ranges.__struct_fields__ for name in TradeRange.__struct_fields__
}
LIVE_NAMES = {"volume_fp", "open_interest_fp"} | {
    _dollars(name) for name in HISTORICAL_NAMES if "." in name
}
_PLAIN_NAME = re.compile(rb'"(?:volume|open_interest|open|low|high|close|mean|previous)"').search


def candlestick(raw: bytes | Raw) -> CandlestickPayload:
    """Read a period of either tier; the live one adds units to the names of numbers."""
    text = bytes(raw)
    live = b'_fp"' in text or b'_dollars"' in text
    if live and _PLAIN_NAME(text):
        refuse_mixture(raw)
    if not live:
        return _read_historical(raw)
    found = _read_live(raw)
    return CandlestickPayload(
        end_period_ts=found.end_period_ts,
        yes_bid=QuoteRange(*msgspec.structs.astuple(found.yes_bid)),
        yes_ask=QuoteRange(*msgspec.structs.astuple(found.yes_ask)),
        price=TradeRange(*msgspec.structs.astuple(found.price)),
        volume=found.volume_fp,
        open_interest=found.open_interest_fp,
    )


def refuse_mixture(raw: bytes | Raw) -> None:
    """What the one spelling leaves out must not be taken for silence where the other says it."""
    names = _names(raw)
    live, historical = names & LIVE_NAMES, names & HISTORICAL_NAMES
    if live and historical:
        raise msgspec.ValidationError(
            f"Expected one spelling, got `{min(live)}` too - at `$.{min(historical)}`"
        )


def _names(raw: bytes | Raw) -> set[str]:
    ranges = _read_ranges(raw)
    names = set(_read_keys(raw))
    for side in _Ranges.__struct_fields__:
        names |= {f"{side}.{key}" for key in getattr(ranges, side)}
    return names
