"""The backfill of settled markets from both tiers of the simulated exchange."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from django.core.management import CommandError, call_command

from markets.backfill.settled.request import SettledRequest
from markets.backfill.settled.runner import (
    SettledProgress,
    SettledWork,
    fill_settled,
    find_settled,
)
from markets.backfill.settled.windows import LEAD_TIME, LOOK_BACK
from markets.calibration.anchors import LEAD_TIMES
from markets.kalshi.candles import candlestick
from markets.kalshi.client import KalshiClient
from markets.kalshi.errors import TemporaryError
from markets.management.commands.backfill import told_errors
from markets.models import (
    BackfillSpan,
    Candlestick,
    Drift,
    Event,
    EventRevision,
    Market,
    MarketRevision,
    MarketSnapshot,
    Source,
)
from markets.recording.exchange import kalshi_client
from markets.simulator.server import RunningExchange, SimulatedClock, running_exchange
from markets.simulator.universe import SimulatedUniverse

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
# An hour of each tier.
START, END = NOW - 5 * HOUR, NOW - 3 * HOUR


@pytest.fixture(scope="module")
def exchange():
    clock = SimulatedClock.starting(origin=NOW.timestamp())
    universe = SimulatedUniverse(seed=1, markets=60)
    with running_exchange(universe, clock=clock, retention=4 * 3600) as exchange:
        yield exchange


@pytest.fixture
def client(exchange):
    with KalshiClient(exchange.url) as client:
        yield client


def find(client: KalshiClient, **changes) -> tuple[SettledWork, SettledProgress]:
    progress = SettledProgress()
    request = SettledRequest(**{"start": START, "end": END} | changes)
    return find_settled(client, request, progress, on_progress=lambda _: None), progress


def fill(client: KalshiClient, **changes) -> SettledProgress:
    work, progress = find(client, **changes)
    fill_settled(client, work, progress, on_progress=lambda _: None)
    return progress


def recorded() -> dict[str, list]:
    """Return what a backfill writes, without ids and instants of writing."""
    quotes = ("market__ticker", "end_period_ts", "period_interval", "yes_bid_close", "volume")
    known = ("market__ticker", "known_at", "status", "result")
    past = MarketRevision.objects.filter(known_at__lte=NOW)
    return {
        "candles": sorted(Candlestick.objects.values_list(*quotes)),
        "snapshots": sorted(MarketSnapshot.objects.values_list("market__ticker", "timestamp")),
        "known": sorted(past.values_list(*known)),
        "spans": sorted(BackfillSpan.objects.values_list("market__ticker", "start", "end")),
    }


def delete_records() -> None:
    of_markets = (Candlestick, MarketSnapshot, BackfillSpan, MarketRevision, Market)
    for model in (*of_markets, EventRevision, Event):
        model.objects.all().delete()


def test_markets_settled_in_the_span_are_found_in_both_tiers(client):
    _, progress = find(client)
    plan = progress.plan
    assert plan.live
    assert plan.historical
    assert not plan.live & plan.historical
    cutoff = client.historical_cutoff().market_settled_ts
    assert Market.objects.filter(pk__in=plan.historical, settlement_ts__gte=cutoff).count() == 0
    settled = Market.objects.values_list("settlement_ts", flat=True)
    assert all(at and START <= at < END for at in settled)
    assert progress.markets == len(settled) == sum(plan.anchors.values())
    assert set(plan.anchors) == {"strike date"}


def test_the_first_quote_and_the_last_one_before_each_lead_time_are_written(client):
    progress = fill(client)
    assert progress.candlesticks == Candlestick.objects.count() > 0
    for market in Market.objects.select_related("event")[::5]:
        anchor, opened, closed = market.event.strike_date, market.open_time, market.close_time
        assert anchor
        assert opened
        assert closed
        instants = [anchor - lead for lead in LEAD_TIMES.values()]
        expected = {at for at in instants if opened < at <= closed}
        candles = Candlestick.objects.filter(market=market)
        first, *_ = found = list(candles.values_list("end_period_ts", flat=True))
        assert set(found) - {first} == expected - {first}
        assert opened < first <= closed


def test_what_is_written_is_what_the_exchange_says(client):
    _, progress = find(client)
    fill(client)
    for tier in (progress.plan.live, progress.plan.historical):
        minutes = Candlestick.objects.filter(market_id__in=tier, period_interval=1)
        candle = minutes.select_related("market__event__series")[0]
        seconds = int(candle.end_period_ts.timestamp())
        span = {"start_ts": seconds, "end_ts": seconds, "period_interval": 1}
        market = candle.market
        if tier is progress.plan.live:
            page = client.candlesticks(market.event.series.ticker, market.ticker, **span)
        else:
            page = client.historical_candlesticks(market.ticker, **span)
        theirs = candlestick(page.items[0])
        assert candle.yes_bid_close == (theirs.yes_bid.close or None)
        snapshot = MarketSnapshot.objects.get(market=market, timestamp=candle.end_period_ts)
        assert (snapshot.source, snapshot.yes_bid) == (Source.BACKFILL, candle.yes_bid_close)


def test_the_calls_are_as_many_as_was_told(client):
    work, progress = find(client)
    batches, singles = work.live.calls, work.historical.calls
    assert 0 < batches < len(progress.plan.live)
    assert singles >= len(progress.plan.historical) > 0
    before = client.requests
    fill_settled(client, work, progress, on_progress=lambda _: None)
    assert client.requests - before == progress.calls == progress.calls_done == batches + singles
    assert progress.share == 1.0


def test_a_repeated_backfill_fetches_no_candlestick_again(client):
    fill(client)
    before = recorded()
    work, progress = find(client)
    assert (work.calls, progress.share) == (0, 1.0)
    fill_settled(client, work, progress, on_progress=lambda _: None)
    assert recorded() == before


def test_each_window_is_as_long_as_the_lookback_and_ends_at_a_minute(client):
    find(client)
    for span in BackfillSpan.objects.filter(kind=LEAD_TIME):
        assert timedelta(0) < span.end - span.start <= LOOK_BACK
        assert span.end.second == 0


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


@pytest.mark.parametrize("requests", [3, 8, 12])
def test_interrupted_and_resumed_equals_uninterrupted(exchange, client, requests):
    fill(client)
    whole = recorded()
    delete_records()
    transport = LimitedTransport(requests)
    with (
        KalshiClient(exchange.url, transport=transport, sleep=lambda _: None) as limited,
        pytest.raises(TemporaryError),
    ):
        fill(limited)
    fill(client)
    assert recorded() == whole
    assert not BackfillSpan.objects.filter(finished_at=None).exists()


def test_a_backfill_that_is_stopped_keeps_what_it_has_and_goes_on(client):
    def stop(progress: SettledProgress) -> None:
        if progress.calls_done == 2:
            raise KeyboardInterrupt

    work, progress = find(client)
    with pytest.raises(KeyboardInterrupt):
        fill_settled(client, work, progress, on_progress=stop)
    kept = Candlestick.objects.count()
    left, again = find(client)
    assert kept == progress.candlesticks > 0
    assert left.calls == work.calls - 2
    fill_settled(client, left, again, on_progress=lambda _: None)
    assert not BackfillSpan.objects.filter(finished_at=None).exists()


def test_of_a_series_or_a_category_its_own_markets_are_found(client):
    find(client, series="KXBTCD")
    assert set(Event.objects.values_list("series__ticker", flat=True)) == {"KXBTCD"}
    delete_records()
    find(client, category="crypto")
    assert set(Event.objects.values_list("series__category", flat=True)) == {"Crypto"}
    assert Event.objects.filter(series__ticker="KXBTCD").exists()


def test_a_category_of_many_series_is_found_in_the_listing_of_all(client, monkeypatch):
    find(client, category="Crypto")
    by_series = recorded()
    delete_records()
    monkeypatch.setattr("markets.backfill.settled.planning.MOST_LISTED_SERIES", 0)
    find(client, category="Crypto")
    assert recorded() == by_series


def test_nothing_the_exchange_answers_is_drift(client):
    fill(client)
    assert list(Drift.objects.values_list("where", flat=True)) == []


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def configured(exchange, settings) -> Iterator[RunningExchange]:
    settings.KALSHI_API_URL = exchange.url
    settings.KALSHI_RATE = 6_000
    kalshi_client.cache_clear()
    yield exchange
    kalshi_client().close()
    kalshi_client.cache_clear()


def run(*words: str, start: str = "2026-11-20T07:00Z", end: str = "2026-11-20T09:00Z") -> None:
    call_command("backfill", "--settled", "--start", start, "--end", end, *words)


def test_the_command_tells_the_calls_and_the_minutes_before_it_fetches(configured, capsys):
    run()
    told, summary = capsys.readouterr().out.splitlines()
    markets = Market.objects.count()
    assert told.startswith(f"{markets:,} settled markets (strike date {markets:,}): ")
    assert "calls for up to 100 markets each in the live tier" in told
    assert "for one market each in the historical tier, 0." in told
    assert told.endswith("minutes at 600 calls a second.")
    counts = (markets, Candlestick.objects.count(), MarketSnapshot.objects.count())
    text = "{:,} markets: {:,} candlesticks, {:,} snapshots and 0 trades are new."
    assert summary == text.format(*counts)


def test_a_span_without_settlements_is_told(configured, capsys):
    run(start="2026-11-20T08:59:58Z", end="2026-11-20T08:59:59Z")
    assert "No market was settled in this span." in capsys.readouterr().out
    assert not BackfillSpan.objects.exists()


def test_a_stopped_command_says_how_to_go_on():
    again = "Run the same command again to continue"
    with pytest.raises(CommandError, match=again) as caught, told_errors():
        raise KeyboardInterrupt
    assert caught.value.returncode == 130


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--ticker", "A"], "--ticker: it does not go with --settled"),
        (["--event", "A"], "--event: it does not go with --settled"),
        (["--interval", "60"], "--interval: it does not go with --settled"),
        (["--trades"], "--trades: it does not go with --settled"),
        (["--series", "A", "--category", "B"], "--category: give one of --series and --category"),
        (["--series", "A\0"], "--series: it contains a character"),
        (["--category", "A\0"], "--category: it contains a character"),
        (["--start", "2999-01-01"], "--start: .* in the future"),
        (["--end", "2999-01-01"], "--end: .* in the future"),
        (["--end", "2026-11-20T07:00Z"], "--start: must be before --end"),
        (["--start", "soon"], "--start: 'soon' is neither"),
    ],
)
def test_a_bad_option_is_refused_by_name(words, reason):
    with pytest.raises(CommandError, match=reason):
        run(*words)


def test_a_category_goes_with_settled_alone():
    words = ["--ticker", "A", "--category", "Crypto", "--start", "2026-11-01"]
    with pytest.raises(CommandError, match="--category: it goes with --settled alone"):
        call_command("backfill", *words)


def test_what_the_exchange_does_not_have_is_refused_by_name(configured):
    with pytest.raises(CommandError, match="--series: the exchange does not have KXNONE"):
        run("--series", "KXNONE")
    with pytest.raises(CommandError, match=r"--category: .* no 'Gardening'; it has Climate"):
        run("--category", "Gardening")
    assert not Market.objects.exists()
