"""The requests for the windows of settled markets: as few as the exchange's limits allow."""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from math import ceil

from markets.backfill.runner import (
    CANDLESTICKS_PER_MARKET,
    CANDLESTICKS_PER_REQUEST,
    MARKETS_PER_REQUEST,
    CandlestickCall,
)
from markets.intervals import EPOCH, Interval
from markets.models import BackfillSpan


def batch_calls(spans: Iterable[BackfillSpan], period: timedelta) -> Iterator[CandlestickCall]:
    """Put windows, in the order of their starts, into requests of the live tier.

    Each is for up to a hundred markets, and its one window covers those of all of them. It is
    short enough to be asked for of one market too, where the reply lacks that one.
    """
    return _calls(spans, period, markets=MARKETS_PER_REQUEST, most=CANDLESTICKS_PER_REQUEST)


def single_calls(spans: Iterable[BackfillSpan], period: timedelta) -> Iterator[CandlestickCall]:
    """Put windows, those of each market together, into requests of the historical tier."""
    return _calls(spans, period, markets=1, most=CANDLESTICKS_PER_MARKET)


def _calls(
    spans: Iterable[BackfillSpan], period: timedelta, *, markets: int, most: int
) -> Iterator[CandlestickCall]:
    group: list[BackfillSpan] = []
    ids: set[int] = set()
    time = Interval(EPOCH, EPOCH)
    for span in spans:
        own = Interval(span.start, span.end)
        wider = Interval(min(time.start, own.start), max(time.end, own.end)) if group else own
        count = len(ids) + (span.market_id not in ids)
        each = _candlesticks(wider, period)
        is_full = count > markets or count * each > most or each > CANDLESTICKS_PER_MARKET
        if group and is_full:
            yield CandlestickCall(group, *time)
            group, ids, wider = [], set(), own
        group.append(span)
        ids.add(span.market_id)
        time = wider
    if group:
        yield CandlestickCall(group, *time)


def _candlesticks(time: Interval, period: timedelta) -> int:
    """Return the most candlesticks of one market in a time, on exchanges that count both ends."""
    return ceil(time.length / period) + 1
