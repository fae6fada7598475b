"""Records that a backfill cannot read stay open work until the same request can read them."""

from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest

from markets.management.commands.backfill import Command
from markets.models import BackfillSpan, Candlestick, MarketSnapshot, Trade
from markets.models.trades import trade_uuid
from markets.tests.fake_exchange import market_json
from markets.tests.test_backfill_edges import HOUR, START, TICKER, PastExchange, candle, fill, trade

pytestmark = pytest.mark.django_db(transaction=True)

SECOND = timedelta(seconds=1)


@pytest.fixture
def past():
    return PastExchange(live={TICKER: market_json(TICKER)})


def ends():
    return list(Candlestick.objects.values_list("end_period_ts", flat=True))


def recorded_trades():
    names = {trade_uuid(name): name for name in "abc"}
    return [names[id] for id in Trade.objects.oldest_first().values_list("trade_id", flat=True)]


def open_spans():
    return BackfillSpan.objects.filter(finished_at=None).count()


def test_a_refused_candlestick_is_fetched_again_by_the_same_request(past):
    past.live_candles = [candle(START + n * HOUR) for n in (1, 2, 3)]
    past.live_candles[1]["volume_fp"] = "NaN"
    progress = fill(past)
    assert (progress.candlesticks, progress.rejected) == (2, 1)
    assert progress.share < 1
    past.live_candles[1]["volume_fp"] = "1.00"
    progress = fill(past)
    assert (progress.candlesticks, progress.rejected, progress.share) == (1, 0, 1)
    assert ends() == [START + n * HOUR for n in (1, 2, 3)]
    assert not open_spans()


def test_only_the_time_of_the_refused_record_is_fetched_again(past):
    past.live_candles = [candle(START + n * HOUR) for n in (1, 2, 3)]
    past.live_candles[1]["volume_fp"] = "NaN"
    fill(past)
    refused = BackfillSpan.objects.refused().get()
    assert (refused.start, refused.end) == (START + HOUR, START + 2 * HOUR)
    assert "volume_fp" in refused.refusal
    assert BackfillSpan.objects.as_requested().get().finished_at is not None


def test_what_is_refused_again_stays_open_and_is_told_again(past):
    past.live_candles = [candle(START + HOUR, volume_fp="NaN")]
    for _ in range(3):
        progress = fill(past)
        assert (progress.rejected, open_spans()) == (1, 1)
        assert progress.share < 1


def test_a_candlestick_whose_end_is_unreadable_leaves_the_whole_reply_open(past):
    past.live_candles = [candle(START + HOUR), candle(START + 2 * HOUR, end_period_ts="noon")]
    fill(past)
    past.live_candles[1] = candle(START + 2 * HOUR)
    assert fill(past).candlesticks == 1
    assert ends() == [START + HOUR, START + 2 * HOUR]
    assert not open_spans()


def test_a_refused_candlestick_of_the_historical_tier_is_fetched_again(past):
    past.cutoff = START + 100 * HOUR
    settled = (START + 3 * HOUR).isoformat()
    past.live = {}
    past.historical = {
        TICKER: market_json(TICKER, status="finalized", result="yes", settlement_ts=settled)
    }
    past.live_candles = None
    past.historical_candles = [candle(START + HOUR, volume_fp="NaN")]
    assert fill(past).rejected == 1
    past.historical_candles = [candle(START + HOUR)]
    assert fill(past).candlesticks == 1
    assert not open_spans()


def test_a_refused_trade_is_fetched_again_by_the_same_request(past):
    past.live_trades = [
        trade("c", START + 2 * HOUR),
        trade("b", START + HOUR + SECOND / 3, count_fp="many"),
        trade("a", START + HOUR),
    ]
    progress = fill(past, trades=True)
    assert (progress.trades, progress.rejected) == (2, 1)
    past.live_trades[1] = trade("b", START + HOUR + SECOND / 3)
    past.trade_requests.clear()
    progress = fill(past, trades=True)
    assert (progress.trades, progress.rejected, progress.share) == (1, 0, 1)
    hour = int((START + HOUR).timestamp())
    assert past.trade_requests == [(hour, hour + 1)]
    assert recorded_trades() == ["a", "b", "c"]
    assert not open_spans()


def test_a_trade_whose_time_is_unreadable_is_fetched_again(past):
    past.live_trades = [trade("b", START + HOUR, created_time="noon"), trade("a", START + HOUR)]
    fill(past, trades=True)
    past.live_trades[0] = trade("b", START + HOUR)
    assert fill(past, trades=True).trades == 1
    assert recorded_trades() == ["a", "b"]
    assert not open_spans()


def test_a_trade_of_an_impossible_time_is_not_taken_for_one_of_another_time(past):
    past.live_trades = [
        trade("b", START, created_time="0001-01-01T00:00:00Z", count_fp="many"),
        trade("a", START + HOUR),
    ]
    fill(past, trades=True)
    past.live_trades[0] = trade("b", START + 2 * HOUR)
    assert fill(past, trades=True).trades == 1


def test_a_request_for_another_time_leaves_the_refused_record_alone(past):
    past.live_candles = [candle(START + HOUR, volume_fp="NaN")]
    fill(past)
    past.live_candles = [candle(START + HOUR)]
    fill(past, start=START + HOUR, end=START + 2 * HOUR)
    assert ends() == []
    fill(past, start=START, end=START + 2 * HOUR)
    assert ends() == [START + HOUR]
    assert not open_spans()


def test_spans_that_earlier_versions_finished_are_not_fetched_again(past):
    fill(past, trades=True)
    past.paths.clear()
    assert fill(past, trades=True).share == 1
    assert not [path for path in past.paths if "candlesticks" in path or "trades" in path]


def test_the_command_lists_what_it_could_not_read(past):
    past.live_candles = [candle(START + HOUR, volume_fp="NaN"), candle(START + 2 * HOUR)]
    past.live_trades = [trade("a", START + HOUR + SECOND / 4, count_fp="many")]
    past.live["KXA-1-Y"] = market_json("KXA-1-Y", open_time="yesterday")
    output = StringIO()
    command = Command(stdout=StringIO(), stderr=output)
    command.sum_up(fill(past, tickers=(), event="KXA-1", trades=True))
    lines = output.getvalue().splitlines()
    assert lines[0].startswith("rejected: KXA-1-Y: ")
    assert lines[1].startswith(f"rejected: {TICKER} candles-60 2026-11-20 13:00:00: 'NaN' is not")
    assert lines[2].startswith(f"rejected: {TICKER} trades 2026-11-20 13:00:00.25: 'many' is not")
    assert lines[3] == "What was rejected stays open: run the same command to ask again."


def test_a_candlestick_that_differs_from_the_record_is_told_and_changes_nothing(past):
    past.live_candles = [candle(START + HOUR)]
    fill(past, end=START + HOUR)
    past.live_candles = [candle(START + HOUR, bid="0.1000")]
    progress = fill(past, start=START - HOUR)
    assert progress.differences == [f"{TICKER} candles-60 2026-11-20 13:00:00"]
    assert Candlestick.objects.get().yes_bid_close == Decimal("0.42")
    assert MarketSnapshot.objects.get().yes_bid == Decimal("0.42")


def test_a_trade_that_differs_from_the_record_is_told_and_changes_nothing(past):
    past.live_trades = [trade("a", START + HOUR)]
    fill(past, trades=True)
    past.live_trades = [trade("a", START + HOUR + SECOND, yes_price_dollars="0.9000")]
    progress = fill(past, trades=True, start=START - HOUR)
    assert progress.differences == [f"{TICKER} trades 2026-11-20 13:00:01"]
    assert Trade.objects.get().yes_price == Decimal("0.42")
