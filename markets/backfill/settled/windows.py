"""The windows of a settled market in which candlesticks are wanted, and what is kept of each."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from markets.backfill.parsing import EMPTY_SIDE
from markets.backfill.settled.anchors import AnchorKind, anchor_of
from markets.calibration.anchors import LEAD_TIMES
from markets.intervals import EPOCH
from markets.kalshi.candles import candlestick, period_end
from markets.kalshi.payloads import MarketPayload

# The kinds of `BackfillSpan` that hold the windows, with the minutes of their candlesticks.
LEAD_TIME = "lead-time"
FIRST_QUOTE, FIRST_QUOTE_BY_HOUR = "first-quote-1", "first-quote-60"
MINUTES = {LEAD_TIME: 1, FIRST_QUOTE: 1, FIRST_QUOTE_BY_HOUR: 60}

MINUTE = timedelta(minutes=1)
# An exchange that sends no candlestick for a minute in which nothing happened may have sent one
# this long before; calibration takes no older quote for the price of a lead time.
LOOK_BACK = timedelta(hours=1)
# A first quote is looked for in so many periods from the opening on: by the hour where a market
# lived longer than a day. A hundred markets that opened at about the same time are one request.
FIRST_PERIODS = 60
LONG_LIFE = timedelta(days=1)


class CandleWindow(NamedTuple):
    """The time (start, end] of one market."""

    kind: str
    start: datetime
    end: datetime


class MarketWindows(NamedTuple):
    """The windows of a market, and the kind of its anchor; None where its schedule is unknown."""

    anchor: AnchorKind | None
    windows: list[CandleWindow]


def windows_of(market: MarketPayload, *, strike_date: datetime | None) -> MarketWindows:
    """Return the windows of a settled market: before its anchor, as far as it was trading in them,
    and after its opening, for its first quote.
    """
    anchor = anchor_of(market, strike_date=strike_date)
    opened, closed = market.open_time, market.close_time
    if opened is None or closed is None or opened >= closed:
        return MarketWindows(anchor and anchor.kind, [])
    before = _before(anchor.at, opened, closed) if anchor else ()
    return MarketWindows(anchor and anchor.kind, [_first_quote(opened, closed), *before])


def _before(anchor: datetime, opened: datetime, closed: datetime) -> Iterator[CandleWindow]:
    for lead_time in LEAD_TIMES.values():
        # The last minute that was over by then.
        end = anchor - lead_time - (anchor - lead_time - EPOCH) % MINUTE
        if opened < end <= closed:
            yield CandleWindow(LEAD_TIME, max(end - LOOK_BACK, opened), end)


def _first_quote(opened: datetime, closed: datetime) -> CandleWindow:
    kind = FIRST_QUOTE_BY_HOUR if closed - opened > LONG_LIFE else FIRST_QUOTE
    end = opened + FIRST_PERIODS * timedelta(minutes=MINUTES[kind])
    return CandleWindow(kind, opened, min(end, closed))


# --- what is kept of a reply --------------------------------------------------------------------


def wanted_of(raws: Sequence[msgspec.Raw], window: CandleWindow) -> list[msgspec.Raw]:
    """Return the one candlestick that a window is there for, and those that cannot be read.

    It is the last one of a lead time; of a first quote the first one that closed with both sides.
    """
    instants = [(period_end(raw), raw) for raw in raws]
    unreadable = [raw for at, raw in instants if at is None]
    inside = sorted(
        (
            (at, raw)
            for at, raw in instants
            if at is not None and window.start < EPOCH + timedelta(seconds=at) <= window.end
        ),
        key=lambda pair: pair[0],
    )
    in_order = [raw for _, raw in inside]
    chosen = in_order[-1:] if window.kind == LEAD_TIME else _first_two_sided(in_order)
    return [*unreadable, *chosen]


def _first_two_sided(raws: Sequence[msgspec.Raw]) -> list[msgspec.Raw]:
    """Return the first candlestick with a bid and an ask, after those that cannot be read."""
    unreadable = []
    for raw in raws:
        try:
            payload = candlestick(raw)
        except msgspec.MsgspecError:
            unreadable.append(raw)
            continue
        if not {payload.yes_bid.close, payload.yes_ask.close} & EMPTY_SIDE:
            return [*unreadable, raw]
    return unreadable
