"""The candlesticks and trades of a reply: those that can be read, and those that cannot."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

import msgspec

from markets import prices
from markets.intervals import EPOCH
from markets.kalshi import payloads
from markets.kalshi.candles import QuoteOHLC, candlestick, period_end
from markets.models import BackfillSpan
from markets.models.candlesticks import Candle
from markets.models.trades import PublicTrade, public_trade
from markets.recording.batch import parse_price_ranges

# A bid of 0 and an ask of 1 dollar stand for an empty side.
EMPTY_SIDE = frozenset((Decimal(0), prices.ONE))

OHLC = tuple[Decimal | None, ...]


class UnreadableRecord(NamedTuple):
    """A record that cannot be read, and its instant if that can be."""

    raw: msgspec.Raw
    reason: msgspec.MsgspecError
    at: datetime | None


def parse_candlesticks(
    span: BackfillSpan, raws: Iterable[msgspec.Raw], price_ranges: str
) -> tuple[list[Candle], list[UnreadableRecord]]:
    candles, refused = [], []
    for raw in raws:
        try:
            candles.append(make_candle(span, raw, price_ranges))
        except msgspec.MsgspecError as reason:
            seconds = period_end(raw)
            at = None if seconds is None else EPOCH + timedelta(seconds=seconds)
            refused.append(UnreadableRecord(raw, reason, at))
    return candles, refused


def make_candle(span: BackfillSpan, raw: msgspec.Raw, price_ranges: str) -> Candle:
    payload = candlestick(raw)
    bid, ask = _ohlc(payload.yes_bid), _ohlc(payload.yes_ask)
    return Candle(
        market_id=span.market_id,
        end_period_ts=EPOCH + timedelta(seconds=payload.end_period_ts),
        yes_bid=bid,
        yes_ask=ask,
        price=msgspec.structs.astuple(payload.price),
        volume=payload.volume,
        open_interest=payload.open_interest,
        quality=quote_quality(bid[-1], ask[-1], price_ranges=price_ranges),
    )


def parse_trades(
    span: BackfillSpan, raws: Iterable[msgspec.Raw]
) -> tuple[list[PublicTrade], list[UnreadableRecord]]:
    trades, refused = [], []
    for raw in raws:
        try:
            trades.append(make_trade(span, raw))
        except msgspec.MsgspecError as reason:
            refused.append(UnreadableRecord(raw, reason, payloads.created_time_of(raw)))
    return trades, refused


def make_trade(span: BackfillSpan, raw: msgspec.Raw) -> PublicTrade:
    payload = payloads.trade(raw)
    if payload.ticker != span.market.ticker:
        raise msgspec.ValidationError("it is a trade of another market - at `$.ticker`")
    return public_trade(payload, span.market_id)


def _ohlc(side: QuoteOHLC) -> OHLC:
    """Return open, low, high and close, each None where the side was empty."""
    return tuple(None if price in EMPTY_SIDE else price for price in msgspec.structs.astuple(side))


@lru_cache(maxsize=100_000)
def quote_quality(bid: Decimal | None, ask: Decimal | None, *, price_ranges: str) -> int:
    """Return `prices.quality`, cached because the quotes of a few markets repeat often."""
    return int(prices.quality(bid, ask, parse_price_ranges(price_ranges)))
