"""Invalid requests of a backfill, and unusual replies of the exchange."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from kalshi_insights.bad_input import BadInput
from markets.backfill.progress import BackfillProgress
from markets.backfill.request import BackfillRequest
from markets.backfill.runner import backfill, candlestick_calls
from markets.kalshi.client import KalshiClient
from markets.models import (
    BackfillSpan,
    Candlestick,
    Drift,
    Market,
    MarketRevision,
    MarketSnapshot,
    Trade,
)
from markets.models.trades import trade_uuid
from markets.recording.exchange import kalshi_client
from markets.tests.factories import a_market, a_poll, observe
from markets.tests.fake_exchange import URL, market_json

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
TICKER = "KXA-1-X"


def candle(at: datetime, *, bid: str = "0.4200", ask: str = "0.4500", **changes: Any) -> dict:
    return {
        "end_period_ts": int(at.timestamp()),
        "yes_bid": dict.fromkeys(LIVE_RANGE, bid),
        "yes_ask": dict.fromkeys(LIVE_RANGE, ask),
        "price": {"previous_dollars": "0.4300"},
        "volume_fp": "0.00",
        "open_interest_fp": "7.00",
        **changes,
    }


LIVE_RANGE = ("open_dollars", "low_dollars", "high_dollars", "close_dollars")


def as_historical(candle: dict) -> Any:
    return json.loads(json.dumps(candle).replace("_dollars", "").replace("_fp", ""))


def trade(identity: str, at: datetime, **changes: Any) -> dict:
    return {
        "trade_id": identity,
        "ticker": TICKER,
        "count_fp": "2.50",
        "yes_price_dollars": "0.4200",
        "no_price_dollars": "0.5800",
        "taker_outcome_side": "yes",
        "taker_book_side": "bid",
        "created_time": at.isoformat(),
        "is_block_trade": False,
        **changes,
    }


@dataclass
class PastExchange:
    """A fake exchange with history; candlesticks of None mean that the tier has no such market."""

    live: dict[str, dict] = field(default_factory=dict)
    historical: dict[str, dict] = field(default_factory=dict)
    live_candles: list[dict] | None = field(default_factory=list)
    historical_candles: list[dict] | None = None
    live_trades: list[dict] = field(default_factory=list)
    historical_trades: list[dict] = field(default_factory=list)
    cutoff: datetime = START - 100 * HOUR
    # Requests for candlesticks that end before this instant are answered 404.
    forgets_before: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    paths: list[str] = field(default_factory=list)
    trade_requests: list[tuple[int, int]] = field(default_factory=list)

    def client(self) -> KalshiClient:
        return KalshiClient(URL, transport=httpx.MockTransport(self.answer), sleep=lambda _: None)

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/trade-api/v2")
        self.paths.append(path)
        body = self.body(path, request.url.params)
        return httpx.Response(404 if body is None else 200, json=body)

    def body(self, path: str, parameters: httpx.QueryParams) -> Any:
        if path in ("/markets", "/historical/markets"):
            markets = self.live if path == "/markets" else self.historical
            names = parameters["tickers"].split(",") if "tickers" in parameters else markets
            return {"markets": [markets[name] for name in names if name in markets]}
        if path == "/markets/trades":
            self.trade_requests.append((int(parameters["min_ts"]), int(parameters["max_ts"])))
        if "end_ts" in parameters and int(parameters["end_ts"]) < self.forgets_before.timestamp():
            return None
        candles = {"/markets/candlesticks": self.batch()} | {
            f"/series/KXA/markets/{TICKER}/candlesticks": listed(self.live_candles),
            f"/historical/markets/{TICKER}/candlesticks": listed(self.historical_candles),
        }
        return (
            candles
            | {
                "/events": {"events": [EVENT] if parameters.get("tickers") == "KXA-1" else []},
                "/historical/cutoff": {
                    "market_settled_ts": self.cutoff.isoformat(),
                    "trades_created_ts": self.cutoff.isoformat(),
                },
                "/markets/trades": {"trades": self.live_trades},
                "/historical/trades": {"trades": self.historical_trades},
            }
        ).get(path)

    def batch(self) -> Any:
        if self.live_candles is None:
            return None
        return {"markets": [{"market_ticker": TICKER, "candlesticks": self.live_candles}]}


def listed(candles: list[dict] | None) -> Any:
    return None if candles is None else {"candlesticks": candles}


EVENT = {
    "event_ticker": "KXA-1",
    "series_ticker": "KXA",
    "title": "What of it?",
    "sub_title": "",
    "collateral_return_type": "",
    "mutually_exclusive": False,
    "settlement_sources": None,
}


@pytest.fixture
def past():
    return PastExchange(live={TICKER: market_json(TICKER)})


def fill(past: PastExchange, **changes: Any) -> BackfillProgress:
    words: dict[str, Any] = {"start": START, "end": START + 3 * HOUR, "tickers": [TICKER]}
    with past.client() as client:
        return backfill(client, BackfillRequest(**words | changes), on_progress=lambda _: None)


# --- invalid requests ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--start", "2026-11-01"], "--ticker, --event and --series"),
        (["--ticker", "A", "--event", "B", "--start", "2026-11-01"], "one of --ticker, --event"),
        (["--ticker", "A", "--start", "2999-01-01"], "--start: .* is in the future"),
        (["--ticker", "A", "--start", "2026-11-01", "--end", "2999-01-01"], "--end: .* future"),
        (
            ["--ticker", "A", "--start", "2026-11-02", "--end", "2026-11-01"],
            "--start: must be before",
        ),
        (
            ["--ticker", "A", "--start", "2026-11-01", "--end", "2026-11-01"],
            "--start: must be before",
        ),
        (["--ticker", "A", "--start", "yesterday"], "--start: 'yesterday' is neither a day"),
        (["--ticker", "A", "--start", "2026-11-01T12:00"], "--start: .* time zone"),
        (["--ticker", "A", "--start", "2026-13-01"], "--start: '2026-13-01' is neither a day"),
        (["--ticker", "A", "--start", "2026W01T12"], "--start: '2026W01T12' is neither a day"),
        (["--ticker", "A", "--start", "0001-01-01T00:00+01:00"], "--start: .* the years 1 to 9999"),
        (
            ["--ticker", "A", "--start", "2026-11-01", "--end", "9999-12-31T23:00-05:00"],
            "--end: .* the years 1 to 9999",
        ),
        (["--ticker", "A", "--start", "2026-11-01", "--interval", "5"], "--interval"),
        (["--ticker", "A\0", "--start", "2026-11-01"], "a character that cannot be written"),
        (["--event", "B"], "--start"),
    ],
)
@pytest.mark.django_db
def test_an_invalid_option_is_refused_by_name(words, reason):
    # This test has no address of an exchange. The database tells how a ticker is written.
    with pytest.raises(CommandError, match=reason):
        call_command("backfill", *words)


@pytest.mark.django_db
def test_an_unknown_ticker_is_refused_before_anything_is_written(past):
    with pytest.raises(BadInput, match="--ticker: the exchange does not know KXA-1-Y, KXA-1-Z"):
        fill(past, tickers=[TICKER, "KXA-1-Y", "KXA-1-Z"])
    assert past.paths == ["/markets", "/historical/markets"]
    assert not Market.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("option", ["event", "series"])
def test_an_event_or_series_without_markets_is_refused(option):
    empty = PastExchange()
    with pytest.raises(BadInput, match=f"--{option}: the exchange knows no market of KXB"):
        fill(empty, tickers=(), **{option: "KXB"})
    assert len(empty.paths) == 2


@pytest.mark.django_db
def test_an_unreachable_exchange_is_reported_with_what_to_do(settings):
    settings.KALSHI_API_URL = "http://127.0.0.1:9/trade-api/v2"
    kalshi_client.cache_clear()
    with pytest.raises(CommandError, match="Run the same command again to continue"):
        call_command("backfill", "--ticker", TICKER, "--start", "2026-11-20")
    kalshi_client().close()
    kalshi_client.cache_clear()


# --- unusual replies ----------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_an_unreadable_candlestick_does_not_affect_the_others(past):
    past.live_candles = [
        candle(START + HOUR),
        candle(START + 2 * HOUR, volume_fp="NaN"),
        candle(START + 2 * HOUR, volume="1.00"),
        candle(START + 3 * HOUR),
    ]
    progress = fill(past)
    assert (progress.candlesticks, progress.rejected) == (2, 2)
    assert "NaN" in progress.reasons[0]
    assert "candlestick.$.volume_fp: … is not a Count" in {
        each.where for each in Drift.objects.all()
    }


@pytest.mark.django_db(transaction=True)
def test_candlesticks_outside_the_window_are_left_out(past):
    past.live_candles = [candle(START + n * HOUR) for n in range(-1, 6)]
    fill(past)
    ends = Candlestick.objects.values_list("end_period_ts", flat=True)
    assert list(ends) == [START + n * HOUR for n in (1, 2, 3)]


@pytest.mark.django_db(transaction=True)
def test_a_repeated_candlestick_is_recorded_once(past):
    past.live_candles = [candle(START + HOUR), candle(START + HOUR)]
    fill(past)
    assert (Candlestick.objects.count(), MarketSnapshot.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("cutoff", [START - 100 * HOUR, START + 100 * HOUR])
def test_a_market_is_found_in_the_tier_it_has_moved_to(past, cutoff):
    past.cutoff = cutoff
    settled = (START + 2 * HOUR).isoformat()
    past.live = {
        TICKER: market_json(TICKER, status="finalized", result="yes", settlement_ts=settled)
    }
    past.live_candles = None
    past.historical_candles = [as_historical(candle(START + HOUR))]
    assert fill(past).candlesticks == 1
    assert Candlestick.objects.get().yes_bid_close == Decimal("0.42")


@pytest.mark.django_db(transaction=True)
def test_a_market_without_candlesticks_in_either_tier_is_reported_and_stays_unfinished(past):
    past.live_candles = None
    progress = fill(past)
    assert progress.absent == {TICKER}
    assert BackfillSpan.objects.get().finished_at is None
    past.live_candles = [candle(START + HOUR)]
    assert fill(past).candlesticks == 1


@pytest.mark.django_db(transaction=True)
def test_the_time_in_which_a_market_was_absent_is_fetched_again(past):
    past.live_candles = [candle(START - 110 * HOUR), candle(START - HOUR)]
    past.forgets_before = START - 20 * HOUR
    words = {"start": START - 120 * HOUR, "end": START, "interval": 1}
    progress = fill(past, **words)
    assert (progress.absent, progress.done) == ({TICKER}, timedelta())
    past.forgets_before = START - 120 * HOUR
    assert fill(past, **words).share == 1.0
    ends = Candlestick.objects.values_list("end_period_ts", flat=True)
    assert list(ends) == [START - 110 * HOUR, START - HOUR]


@pytest.mark.django_db(transaction=True)
def test_an_empty_side_is_null_and_a_crossed_book_is_flagged(past):
    past.live_candles = [
        candle(START + HOUR, bid="0.0000", ask="1.0000"),
        candle(START + 2 * HOUR, bid="0.5000", ask="0.4000"),
    ]
    fill(past)
    empty, crossed = MarketSnapshot.objects.oldest_first()
    assert (empty.yes_bid, empty.yes_ask, empty.quality) == (None, None, 0)
    assert crossed.quality == 1


@pytest.mark.django_db(transaction=True)
def test_a_trade_of_both_tiers_is_recorded_once_and_a_block_is_flagged(past):
    past.cutoff = START + 2 * HOUR
    at = START + HOUR
    past.live_trades = [trade("c", START + 3 * HOUR), trade("b", at, is_block_trade=True)]
    past.historical_trades = [trade("b", at, is_block_trade=True), trade("a", at)]
    assert fill(past, trades=True).trades == 3
    in_the_book = Trade.objects.in_the_book().values_list("trade_id", flat=True)
    assert list(in_the_book) == [trade_uuid("a"), trade_uuid("c")]
    assert BackfillSpan.objects.filter(finished_at=None).count() == 0


@pytest.mark.django_db(transaction=True)
def test_a_later_end_fetches_only_the_newer_trades(past):
    ends = [START + n * HOUR for n in (1, 2, 3)]
    for end in (*ends, ends[0]):
        fill(past, trades=True, end=end)
    expected = [seconds(START + n * HOUR, START + (n + 1) * HOUR) for n in range(3)]
    assert past.trade_requests == expected


@pytest.mark.django_db(transaction=True)
def test_a_later_end_continues_interrupted_trades(past):
    market, at = a_market(TICKER), START + 2 * HOUR
    words = {"market": market, "kind": "trades", "start": START, "end": START + 3 * HOUR}
    BackfillSpan.objects.create(**words, done_until=at)
    fill(past, trades=True, end=START + 4 * HOUR)
    assert past.trade_requests == [seconds(START, at), seconds(START + 3 * HOUR, START + 4 * HOUR)]
    assert not BackfillSpan.objects.filter(finished_at=None).exists()


@pytest.mark.django_db(transaction=True)
def test_an_earlier_end_fetches_no_trades_beyond_it(past):
    market = a_market(TICKER)
    words = {"market": market, "kind": "trades", "start": START, "end": START + 3 * HOUR}
    BackfillSpan.objects.create(**words, done_until=START + 2 * HOUR)
    fill(past, trades=True, end=START + HOUR)
    assert past.trade_requests == [seconds(START, START + HOUR)]


def seconds(*instants: datetime) -> tuple[int, ...]:
    return tuple(int(at.timestamp()) for at in instants)


@pytest.mark.django_db(transaction=True)
def test_an_unreadable_trade_does_not_affect_the_others(past):
    past.live_trades = [trade("b", START + HOUR, count_fp="many"), trade("a", START + HOUR)]
    progress = fill(past, trades=True)
    assert (progress.trades, progress.rejected) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_a_market_that_closed_before_the_window_is_left_out(past):
    past.live[TICKER]["close_time"] = (START - 2 * HOUR).isoformat()
    assert fill(past).markets == 0
    assert past.paths == ["/markets"]


# --- revisions ----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_settlement_without_a_time_is_assumed_known_after_the_timer(past):
    closed = START + HOUR
    past.live = {
        TICKER: market_json(TICKER, status="finalized", result="no", close_time=closed.isoformat())
    }
    fill(past)
    settled = MarketRevision.objects.get(known_at=closed + timedelta(seconds=300))
    assert (settled.result, settled.known_at_assumed) == ("no", True)


@pytest.mark.django_db(transaction=True)
def test_a_settlement_is_not_assumed_to_be_known_later_than_we_learned_it(past):
    past.live = {TICKER: market_json(TICKER, status="finalized", result="no")}
    fill(past)
    assert not MarketRevision.objects.filter(known_at__gt=datetime.now(UTC)).exists()
    assert MarketRevision.objects.get(result="no").known_at_assumed is False


@pytest.mark.django_db(transaction=True)
def test_only_the_settlement_of_a_recorded_market_is_written(past):
    market = a_market(TICKER, title="as recorded")
    fill(past)
    market.refresh_from_db()
    assert market.title == "as recorded"
    past.live = {TICKER: market_json(TICKER, status="finalized", result="yes")}
    fill(past)
    market.refresh_from_db()
    assert (market.status, market.result) == ("finalized", "yes")


@pytest.fixture
def settled(past):
    """Return a market that a backfill has recorded unsettled, and the instant of its settlement."""
    fill(past)
    at = datetime.now(UTC)
    past.live[TICKER] |= {"status": "finalized", "result": "yes", "settlement_ts": at.isoformat()}
    return Market.objects.get(), at


def known_since(market: Market) -> datetime:
    return market.revisions.filter(result="yes").earliest("known_at").known_at


@pytest.mark.django_db(transaction=True)
def test_the_settlement_of_a_market_that_was_never_polled_is_known_from_its_own_time(past, settled):
    market, at = settled
    a_poll(at + HOUR)
    fill(past)
    assert known_since(market) == at


@pytest.mark.django_db(transaction=True)
def test_a_settlement_after_the_last_run_is_known_from_its_own_time(past, settled):
    market, at = settled
    observe(market, at - HOUR, "0.42", "0.45")
    a_poll(at - HOUR)
    fill(past)
    assert known_since(market) == at


@pytest.mark.django_db(transaction=True)
def test_the_settlement_of_a_polled_market_is_known_since_we_learned_it(past, settled):
    market, at = settled
    observe(market, at - HOUR, "0.42", "0.45")
    a_poll(at)
    before = datetime.now(UTC)
    fill(past)
    assert known_since(market) > before


@pytest.mark.django_db(transaction=True)
def test_a_settlement_before_a_revision_as_open_is_known_since_we_learned_it(past, settled):
    market, at = settled
    settled_earlier = at - timedelta(minutes=1)
    past.live[TICKER]["settlement_ts"] = settled_earlier.isoformat()
    fill(past)
    assert known_since(market) > at


@pytest.mark.django_db(transaction=True)
def test_a_backfill_does_not_wait_for_a_locked_market(past):
    market = a_market(TICKER, quoted_at=None)
    past.live_candles = [candle(START + HOUR)]
    recorder = connection.copy()
    try:
        with recorder.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT FROM markets_market FOR NO KEY UPDATE")
            assert fill(past).snapshots == 1
    finally:
        recorder.close()
    market.refresh_from_db()
    assert market.quoted_at is None


# --- calls for candlesticks ---------------------------------------------------------------------


def span(pk: int, start: datetime, hours: float) -> BackfillSpan:
    return BackfillSpan(
        pk=pk, market_id=pk, kind="candles-1", start=start, end=start + hours * HOUR
    )


@pytest.mark.parametrize(("markets", "hours"), [(1, 300), (7, 24), (100, 24), (250, 6)])
def test_calls_stay_within_the_limits_and_cover_everything(markets, hours):
    minute = timedelta(minutes=1)
    spans = [span(n, START + n * 7 * minute, hours) for n in range(1, markets + 1)]
    reached = {each.pk: each.start for each in spans}
    for call in candlestick_calls(spans, minute, markets=100):
        assert len(call.spans) <= 100
        assert len(call.spans) * ((call.until - call.after) / minute + 1) <= 10_000
        for each in call.spans:
            assert call.after <= reached[each.pk] < call.until
            reached[each.pk] = min(call.until, each.end)
    assert reached == {each.pk: each.end for each in spans}


# --- what the exchange does not tell ------------------------------------------------------------


ZERO = datetime(1, 1, 1, tzinfo=UTC)


@pytest.mark.django_db
def test_without_a_known_cutoff_both_tiers_are_asked_for_trades(past):
    past.cutoff = ZERO
    past.live_trades = [trade("a", START + HOUR)]
    past.historical_trades = [trade("b", START + 2 * HOUR)]
    fill(past, trades=True)
    recorded = set(Trade.objects.values_list("trade_id", flat=True))
    assert recorded == {trade_uuid("a"), trade_uuid("b")}


@pytest.mark.django_db
def test_a_settlement_without_an_instant_is_never_known_before_the_close(past):
    closed = START + HOUR
    past.live[TICKER] |= {
        "status": "finalized",
        "result": "yes",
        "close_time": closed.isoformat(),
        "settlement_ts": ZERO.isoformat(),
    }
    fill(past)
    revision = MarketRevision.objects.get(status="finalized", known_at_assumed=True)
    assert revision.known_at == closed + timedelta(seconds=300)
    assert revision.settlement_ts is None
    before = Market.objects.as_of(closed)
    assert [(each.status, each.result) for each in before] == [("active", "")]


@pytest.mark.django_db
def test_a_market_without_a_known_opening_and_close_is_filled_as_asked(past):
    times = dict.fromkeys(("open_time", "close_time"), ZERO.isoformat())
    past.live[TICKER] |= times | {"status": "finalized", "result": "no"}
    past.live_candles = [candle(START + HOUR)]
    assert fill(past).candlesticks == 1
    market = Market.objects.get()
    assert (market.open_time, market.close_time, market.result) == (None, None, "no")
    assert Market.objects.as_of(START + HOUR) == []


@pytest.mark.django_db
def test_a_blank_volume_costs_the_volume_alone(past):
    past.live_candles = [candle(START + HOUR, volume_fp="")]
    fill(past)
    recorded = Candlestick.objects.get()
    assert (recorded.volume, recorded.open_interest) == (None, 7)
