"""The windows in which a settled market's candlesticks are wanted, and the calls for them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from markets.backfill.settled.anchors import AnchorKind
from markets.backfill.settled.calls import batch_calls, single_calls
from markets.backfill.settled.windows import (
    FIRST_QUOTE,
    FIRST_QUOTE_BY_HOUR,
    LEAD_TIME,
    CandleWindow,
    wanted_of,
    windows_of,
)
from markets.kalshi import payloads
from markets.kalshi.payloads import MarketPayload
from markets.models import BackfillSpan
from markets.tests.fake_exchange import market_json

CLOSE = datetime(2026, 11, 20, 17, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def a_payload(**changes: Any) -> MarketPayload:
    """A market of thirty days that could close early."""
    times = {"open_time": CLOSE - 30 * DAY, "close_time": CLOSE, "created_time": CLOSE - 30 * DAY}
    times |= {name: at for name, at in changes.items() if isinstance(at, datetime)}
    others = {name: value for name, value in changes.items() if name not in times}
    texts = {name: at.isoformat() for name, at in times.items()}
    body = market_json("KXA-1-X", status="finalized", result="yes", **(texts | others))
    return payloads.market(json.dumps(body).encode())


def lead_times(market: MarketPayload, strike_date: datetime | None = None) -> list[CandleWindow]:
    return windows_of(market, strike_date=strike_date).windows[1:]


def ends(market: MarketPayload, strike_date: datetime | None = None) -> list[datetime]:
    return [each.end for each in lead_times(market, strike_date)]


# --- anchors and windows ------------------------------------------------------------------------


def test_a_market_with_a_strike_date_is_wanted_at_each_lead_time_before_it():
    found = windows_of(a_payload(), strike_date=CLOSE)
    assert found.anchor == AnchorKind.STRIKE_DATE
    leads = [CLOSE - each.end for each in found.windows[1:]]
    assert leads == [7 * DAY, DAY, 6 * HOUR, HOUR, 10 * MINUTE]
    assert [each.kind for each in found.windows] == [FIRST_QUOTE_BY_HOUR] + [LEAD_TIME] * 5


def test_a_lead_time_within_a_minute_goes_by_the_last_minute_that_was_over():
    at = CLOSE + timedelta(seconds=59)
    assert ends(a_payload(), at)[-1] == CLOSE - 10 * MINUTE


def test_an_occurrence_is_the_anchor_where_the_event_has_no_date():
    found = windows_of(a_payload(occurrence_datetime=CLOSE - HOUR), strike_date=None)
    assert found.anchor == AnchorKind.OCCURRENCE
    assert found.windows[-1].end == CLOSE - HOUR - 10 * MINUTE


def test_the_final_close_counts_only_where_the_market_could_not_close_early_and_did_as_expected():
    planned = {"can_close_early": False, "expected_expiration_time": CLOSE}
    found = windows_of(a_payload(**planned), strike_date=None)
    assert found.anchor == AnchorKind.FINAL_CLOSE
    assert found.windows[-1].end == CLOSE - 10 * MINUTE
    for change in ({"can_close_early": True}, {"expected_expiration_time": CLOSE + HOUR}):
        other = windows_of(a_payload(**(planned | change)), strike_date=None)
        assert other.anchor is None
        assert [each.kind for each in other.windows] == [FIRST_QUOTE_BY_HOUR]


def test_nothing_is_wanted_before_the_opening_or_after_the_close():
    young = a_payload(open_time=CLOSE - 7 * HOUR)
    assert ends(young, CLOSE) == [CLOSE - 6 * HOUR, CLOSE - HOUR, CLOSE - 10 * MINUTE]
    assert ends(a_payload(), CLOSE + 3 * HOUR) == [
        CLOSE + 3 * HOUR - each for each in (7 * DAY, DAY, 6 * HOUR)
    ]
    assert ends(a_payload(), CLOSE + 30 * DAY) == []


def test_a_window_begins_with_the_market():
    opened = CLOSE - HOUR - 4 * MINUTE
    first = lead_times(a_payload(open_time=opened), CLOSE)[0]
    assert first == CandleWindow(LEAD_TIME, opened, CLOSE - HOUR)


def test_a_first_quote_of_a_short_life_is_looked_for_by_the_minute_until_the_close():
    short = a_payload(open_time=CLOSE - 30 * MINUTE)
    assert windows_of(short, strike_date=None).windows == [
        CandleWindow(FIRST_QUOTE, CLOSE - 30 * MINUTE, CLOSE)
    ]
    day = windows_of(a_payload(open_time=CLOSE - 5 * HOUR), strike_date=None).windows
    assert day == [CandleWindow(FIRST_QUOTE, CLOSE - 5 * HOUR, CLOSE - 4 * HOUR)]


def test_without_a_known_life_nothing_is_wanted():
    unknown = a_payload(open_time=datetime(1, 1, 1, tzinfo=UTC))
    assert windows_of(unknown, strike_date=CLOSE).windows == []


# --- what is kept -------------------------------------------------------------------------------


def candle(at: datetime, bid: str = "0.4000", ask: str = "0.4300") -> msgspec.Raw:
    names = ("open_dollars", "low_dollars", "high_dollars", "close_dollars")
    body = {
        "end_period_ts": int(at.timestamp()),
        "yes_bid": dict.fromkeys(names, bid),
        "yes_ask": dict.fromkeys(names, ask),
        "price": {},
        "volume_fp": "0.00",
        "open_interest_fp": "1.00",
    }
    return msgspec.Raw(json.dumps(body).encode())


LEAD = CandleWindow(LEAD_TIME, CLOSE - 15 * MINUTE, CLOSE)
FIRST = CandleWindow(FIRST_QUOTE, CLOSE - 15 * MINUTE, CLOSE)


def test_of_a_lead_time_the_last_candlestick_inside_is_kept():
    raws = [candle(CLOSE + n * MINUTE) for n in (-20, -15, -3, -9, 1)]
    assert wanted_of(raws, LEAD) == [raws[2]]
    assert wanted_of(raws[:2], LEAD) == []


def test_of_a_first_quote_the_first_two_sided_candlestick_is_kept():
    raws = [
        candle(CLOSE - 9 * MINUTE, bid="0.0000"),
        candle(CLOSE - 8 * MINUTE, ask="1.0000"),
        candle(CLOSE - 7 * MINUTE),
        candle(CLOSE - 6 * MINUTE),
    ]
    assert wanted_of(raws[::-1], FIRST) == [raws[2]]
    assert wanted_of(raws[:2], FIRST) == []


@pytest.mark.parametrize("window", [LEAD, FIRST])
def test_what_cannot_be_read_is_kept_to_be_refused(window):
    nothing = msgspec.Raw(b'{"end_period_ts":"soon"}')
    assert wanted_of([nothing, candle(CLOSE)], window) == [nothing, candle(CLOSE)]
    broken = msgspec.Raw(bytes(candle(CLOSE - MINUTE)).replace(b"0.4000", b"a lot"))
    assert broken in wanted_of([broken], window)


# --- calls --------------------------------------------------------------------------------------

minutes = st.integers(0, 30 * 24 * 60)
windows = st.lists(st.tuples(st.integers(1, 150), minutes, st.integers(1, 100)), max_size=150)


def as_spans(drawn: list[tuple[int, int, int]]) -> list[BackfillSpan]:
    return [
        BackfillSpan(
            market_id=market, start=CLOSE + at * MINUTE, end=CLOSE + (at + length) * MINUTE
        )
        for market, at, length in drawn
    ]


@given(windows)
def test_batches_stay_within_the_limits_and_cover_every_window_once(drawn):
    spans = sorted(as_spans(drawn), key=lambda span: span.start)
    calls = list(batch_calls(spans, MINUTE))
    assert [span for call in calls for span in call.spans] == spans
    for call in calls:
        markets = len({span.market_id for span in call.spans})
        assert markets <= 100
        periods = (call.until - call.after) / MINUTE + 1
        assert markets * periods <= 10_000
        assert periods <= 5_000  # a market that the batch lacks is asked for by itself
        assert call.after == min(span.start for span in call.spans)
        assert call.until == max(span.end for span in call.spans)


@given(windows)
def test_single_calls_are_for_one_market_and_five_thousand_candlesticks(drawn):
    spans = sorted(as_spans(drawn), key=lambda span: (span.market_id, span.start))
    calls = list(single_calls(spans, MINUTE))
    assert [span for call in calls for span in call.spans] == spans
    for call in calls:
        assert len({span.market_id for span in call.spans}) == 1
        assert (call.until - call.after) / MINUTE + 1 <= 5_000


def test_markets_of_like_close_share_their_calls():
    """A hundred markets take a call for each lead time, and half as many more take two."""
    for count, expected in ((100, 5), (150, 10)):
        found = [lead_times(a_payload(), CLOSE + n * MINUTE) for n in range(count // 5)]
        spans = [
            BackfillSpan(market_id=n, kind=each.kind, start=each.start, end=each.end)
            for n in range(count)
            for each in found[n // 5]
        ]
        spans.sort(key=lambda span: span.start)
        assert len(list(batch_calls(spans, MINUTE))) <= expected


def test_one_market_of_the_historical_tier_is_one_call_and_another_for_seven_days_before():
    found = lead_times(a_payload(), CLOSE)
    spans = [BackfillSpan(market_id=1, start=each.start, end=each.end) for each in found]
    assert [len(call.spans) for call in single_calls(spans, MINUTE)] == [1, 4]
