"""The backfill from both tiers of the simulated exchange."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from kalshi_insights import commands
from markets.backfill.progress import BackfillProgress
from markets.backfill.request import TRADES, BackfillRequest
from markets.backfill.runner import backfill
from markets.kalshi import payloads
from markets.kalshi.candles import candlestick
from markets.kalshi.client import KalshiClient
from markets.kalshi.errors import TemporaryError
from markets.models import (
    BackfillSpan,
    Candlestick,
    Event,
    Market,
    MarketRevision,
    MarketSnapshot,
    Series,
    Source,
    Trade,
)
from markets.recording.exchange import kalshi_client
from markets.simulator.server import SimulatedClock, running_exchange
from markets.simulator.universe import SimulatedUniverse
from markets.storage import partitions
from markets.storage.partitions import SNAPSHOTS

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SERIES = "KXBTCD"


@pytest.fixture(scope="module")
def exchange():
    """Run an exchange whose historical tier has what was settled over four hours ago."""
    clock = SimulatedClock.starting(origin=NOW.timestamp())
    with running_exchange(
        SimulatedUniverse(seed=1, markets=60), clock=clock, retention=4 * 3600
    ) as exchange:
        yield exchange


@pytest.fixture
def client(exchange):
    with KalshiClient(exchange.url) as client:
        yield client


@pytest.fixture(scope="module")
def tickers(exchange):
    """Two markets settled long ago, two a short while ago, and two that trade, not too much."""
    with KalshiClient(exchange.url) as client:
        settled = [
            client.historical_markets(series_ticker=SERIES),
            client.markets(series_ticker=SERIES, status="settled"),
        ]
        trading = client.markets(status="open", mve_filter="exclude")
    found = [[payloads.market(raw) for raw in page.items] for page in settled]
    lived = [[m.ticker for m in each if (m.close_time or NOW) > NOW - 7 * HOUR] for each in found]
    quiet = [raw for raw in trading.items if 50 < (payloads.quote(raw).volume_24h or 0) < 2000]
    old = [m.ticker for m in map(payloads.market, quiet) if (m.open_time or NOW) < NOW - 9 * HOUR]
    return [*lived[0][:2], *lived[1][:2], *old[:2]]


@pytest.fixture
def fill(client, tickers):
    def fill(using: KalshiClient | None = None, **changes) -> BackfillProgress:
        request = make_request(**{"tickers": tickers} | changes)
        return backfill(using or client, request, on_progress=lambda _: None)

    return fill


def make_request(**changes):
    values: dict[str, Any] = {"start": NOW - 8 * HOUR, "end": NOW - HOUR}
    return BackfillRequest(**values | changes)


def recorded() -> dict[str, list]:
    """Return everything that a backfill writes, without ids and instants of writing."""
    candles = [f.name for f in Candlestick._meta.concrete_fields if f.name not in SET_WHILE_WRITING]
    quotes = ("id", "yes_bid", "yes_ask", "last_price", "open_interest", "source")
    trades = [f.name for f in Trade._meta.concrete_fields if f.name not in SET_WHILE_WRITING]
    known = ("known_at", "known_at_assumed", "status", "result", "close_time")
    of = "market__ticker"
    # What a backfill learns itself is known from the real clock's present.
    past = MarketRevision.objects.filter(known_at__lte=NOW)
    return {
        "candles": sorted(Candlestick.objects.values_list(of, *candles)),
        "quotes": sorted(MarketSnapshot.objects.values_list(of, "timestamp", *quotes[1:])),
        "trades": sorted(Trade.objects.values_list(of, *trades)),
        "known": sorted(map(str, past.values_list(of, *known))),
        "newest": sorted(Market.objects.values_list("ticker", "quoted_at", "yes_bid", "status")),
    }


SET_WHILE_WRITING = ("id", "market", "recorded_at")


def delete_records() -> None:
    for model in (Candlestick, MarketSnapshot, Trade, BackfillSpan, MarketRevision, Market):
        model.objects.all().delete()


def unfinished() -> int:
    return BackfillSpan.objects.filter(finished_at=None).count()


def test_candlesticks_of_both_tiers_are_recorded_exactly(fill, client, tickers):
    progress = fill()
    cutoff = client.historical_cutoff().market_settled_ts
    moved = Market.objects.filter(settlement_ts__lt=cutoff)
    assert (progress.markets, moved.count()) == (len(tickers), 2)
    span = {
        "start_ts": int((NOW - 8 * HOUR).timestamp()),
        "end_ts": int((NOW - HOUR).timestamp()),
        "period_interval": 60,
    }
    for market in (moved[0], Market.objects.exclude(pk__in=moved)[0]):
        if market in moved:
            page = client.historical_candlesticks(market.ticker, **span)
        else:
            page = client.candlesticks(SERIES, market.ticker, **span)
        expected = [candlestick(raw) for raw in page.items]
        found = list(Candlestick.objects.for_market(market, period_interval=60))
        assert found
        assert [each.end_period_ts.timestamp() for each in found] == [
            each.end_period_ts for each in expected
        ]
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.yes_bid_close == (theirs.yes_bid.close or None)
            assert (ours.price_low, ours.price_mean) == (theirs.price.low, theirs.price.mean)
            assert (ours.volume, ours.open_interest) == (theirs.volume, theirs.open_interest)


def test_a_closing_quote_becomes_a_snapshot_of_unknown_size(fill, client):
    fill()
    candle = Candlestick.objects.exclude(yes_bid_close=None).exclude(yes_ask_close=None)[0]
    snapshot = MarketSnapshot.objects.get(market=candle.market, timestamp=candle.end_period_ts)
    assert snapshot.source == Source.BACKFILL
    assert (snapshot.yes_bid, snapshot.yes_ask) == (candle.yes_bid_close, candle.yes_ask_close)
    assert (snapshot.yes_bid_size, snapshot.yes_ask_size, snapshot.volume) == (None, None, None)


def test_an_empty_side_is_null(fill, client):
    fill()
    candles = Candlestick.objects
    assert candles.filter(yes_bid_close=None).exists()
    assert not candles.filter(yes_bid_close=0).exists()
    assert not candles.filter(yes_ask_close=1).exists()


def test_a_repeated_backfill_changes_nothing_and_fetches_no_candlestick_again(fill, client):
    fill(trades=True)
    before, requests = recorded(), client.requests
    progress = fill(trades=True)
    assert recorded() == before
    assert (progress.candlesticks, progress.trades, progress.share) == (0, 0, 1.0)
    assert client.requests - requests == 2


def test_a_longer_window_continues_where_the_shorter_one_ended(fill, client):
    fill(end=NOW - 2 * HOUR)
    shorter = Candlestick.objects.count()
    progress = fill()
    assert progress.candlesticks == Candlestick.objects.count() - shorter > 0
    in_two = recorded()
    delete_records()
    fill()
    assert recorded() == in_two


class LimitedTransport(httpx.BaseTransport):
    """A transport that fails after so many requests."""

    def __init__(self, requests: int) -> None:
        self.left = requests
        self.inner = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.left -= 1
        if self.left < 0:
            raise httpx.ConnectError("cut")
        return self.inner.handle_request(request)

    def close(self) -> None:
        self.inner.close()


def interrupt(exchange, fill, requests, **changes):
    """Run a backfill whose connection fails after so many requests."""
    transport = LimitedTransport(requests)
    with (
        KalshiClient(exchange.url, transport=transport, sleep=lambda _: None) as limited,
        pytest.raises(TemporaryError),
    ):
        fill(limited, trades=True, **changes)


@pytest.mark.parametrize("requests", [4, 9, 12, 14])
def test_interrupted_and_resumed_to_a_later_end_equals_uninterrupted(exchange, fill, requests):
    fill(trades=True)
    whole = recorded()
    delete_records()
    interrupt(exchange, fill, requests, end=NOW - 2 * HOUR)
    fill(trades=True)
    assert recorded() == whole
    assert not BackfillSpan.objects.filter(kind=TRADES, finished_at=None).exists()


@pytest.mark.parametrize("requests", [1, 4, 6, 9, 14])
def test_interrupted_and_resumed_equals_uninterrupted(exchange, fill, requests):
    fill(trades=True)
    whole = recorded()
    delete_records()
    interrupt(exchange, fill, requests)
    fill(trades=True)
    assert recorded() == whole
    assert unfinished() == 0


def test_trades_of_both_tiers_are_recorded_once_and_blocks_are_flagged(fill, client):
    progress = fill(trades=True)
    cutoff = client.historical_cutoff().trades_created_ts
    assert progress.trades == Trade.objects.count()
    older = Trade.objects.filter(created_time__lt=cutoff)
    assert 0 < older.count() < progress.trades
    assert Trade.objects.in_the_book().count() <= progress.trades
    first = Trade.objects.earliest("created_time").created_time
    assert NOW - 8 * HOUR < first < NOW - 7 * HOUR


def test_trades_of_a_candlestick_add_up_to_its_volume(fill, client):
    fill(trades=True)
    candle = Candlestick.objects.filter(volume__gt=0, end_period_ts__gt=NOW - 6 * HOUR)[0]
    end = candle.end_period_ts
    trades = Trade.objects.for_market(candle.market).filter(
        created_time__gt=end - HOUR, created_time__lte=end
    )
    assert sum(trade.count for trade in trades) == candle.volume


def test_markets_are_recorded_with_event_and_series(fill, client):
    fill(tickers=(), series=SERIES)
    series = Series.objects.get()
    assert (series.ticker, series.refreshed_at is None) == (SERIES, False)
    assert Event.objects.filter(series=series).count() == Event.objects.count() > 1


def test_all_markets_of_an_event_are_filled(fill, tickers):
    fill(tickers=tickers[:1])
    event = Event.objects.get().ticker
    progress = fill(tickers=(), event=event)
    assert progress.markets == Market.objects.filter(event__ticker=event).count() > 1


def test_a_settlement_is_known_from_its_own_time_on(fill, client):
    fill()
    market = Market.objects.exclude(settlement_ts=None).order_by("settlement_ts")[0]
    own, settled = Market.objects.filter(pk=market.pk), market.settlement_ts
    assert settled
    (before,) = own.as_of(settled - timedelta(seconds=1))
    assert (before.result, before.settlement_value, before.close_time) == ("", None, None)
    (after,) = own.as_of(settled)
    assert (after.result, after.status) == (market.result, "finalized")
    assert not after.known_at_assumed
    assert market.open_time
    assert own.as_of(market.open_time - timedelta(seconds=1)) == []


def test_a_newer_quote_is_not_replaced(fill, client):
    fill(end=NOW - 5 * HOUR)
    market = Market.objects.filter(close_time__gt=NOW)[0]
    assert market.quoted_at == NOW - 5 * HOUR
    Market.objects.update(quoted_at=NOW, volume=7)
    fill()
    market.refresh_from_db()
    assert (market.quoted_at, market.volume) == (NOW, 7)


def test_an_older_quote_is_replaced_by_the_last_candlestick(fill, client):
    fill(interval=1)
    market = Market.objects.filter(close_time__gt=NOW)[0]
    newest = MarketSnapshot.objects.for_market(market).newest()
    assert (market.quoted_at, market.yes_bid) == (NOW - HOUR, newest.yes_bid)


def test_candlesticks_lie_between_opening_and_close(fill, client):
    fill(interval=1)
    for market in Market.objects.all()[:20]:
        ends = Candlestick.objects.filter(market=market).values_list("end_period_ts", flat=True)
        assert market.open_time
        assert market.close_time
        last = market.close_time + timedelta(minutes=1)
        assert all(market.open_time < end <= last for end in ends)


def test_the_command_prints_what_is_new(exchange, tickers, settings, capsys):
    settings.KALSHI_API_URL = exchange.url
    kalshi_client.cache_clear()
    words = ["--start", "2026-11-20T04:00Z", "--end", "2026-11-20T11:00Z", "--trades"]
    call_command("backfill", "--ticker", *tickers[:3], "--ticker", *tickers[3:], *words)
    kalshi_client().close()
    kalshi_client.cache_clear()
    counts = (Candlestick.objects.count(), MarketSnapshot.objects.count(), Trade.objects.count())
    text = "6 markets: {:,} candlesticks, {:,} snapshots and {:,} trades are new."
    assert text.format(*counts) in capsys.readouterr().out


def test_the_command_takes_tickers_in_any_case(exchange, tickers, settings, capsys):
    settings.KALSHI_API_URL = exchange.url
    kalshi_client.cache_clear()
    words = ["--start", "2026-11-20T04:00Z", "--end", "2026-11-20T11:00Z"]
    call_command("backfill", "--ticker", tickers[-1].lower(), *words)
    kalshi_client().close()
    kalshi_client.cache_clear()
    assert "1 markets" in capsys.readouterr().out
    assert set(Candlestick.objects.values_list("market__ticker", flat=True)) == {tickers[-1]}


def test_a_backfill_that_cannot_lock_the_table_can_be_repeated(
    exchange, tickers, settings, monkeypatch
):
    settings.KALSHI_API_URL = exchange.url
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT", 0.1)
    kalshi_client.cache_clear()
    for partition in partitions.partitions_of(SNAPSHOTS):
        if partition.day == NOW.date():
            partitions.drop(partition, str)
    words = ["--start", "2026-11-20T04:00Z", "--end", "2026-11-20T11:00Z", "--ticker", *tickers]
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {SNAPSHOTS} IN ROW EXCLUSIVE MODE")
        with pytest.raises(CommandError, match=r"using the table .* Run the same command again"):
            call_command("backfill", *words)
    finally:
        other.close()
    call_command("backfill", *words)
    kalshi_client().close()
    kalshi_client.cache_clear()
    assert (unfinished(), Candlestick.objects.exists()) == (0, True)


def test_progress_goes_to_standard_error(exchange, tickers, settings, monkeypatch, capsys):
    settings.KALSHI_API_URL = exchange.url
    monkeypatch.setattr(commands, "LINE_EVERY_SECONDS", 0)
    kalshi_client.cache_clear()
    words = ["--ticker", *tickers, "--start", "2026-11-20T04:00Z", "--end", "2026-11-20T11:00Z"]
    call_command("backfill", *words)
    kalshi_client().close()
    kalshi_client.cache_clear()
    printed = capsys.readouterr()
    assert printed.out.count("\n") == 1
    assert re.search(
        r"^  0% .* 0 rows a second\n.*^100% .* rows a second\n$", printed.err, re.S | re.M
    )
