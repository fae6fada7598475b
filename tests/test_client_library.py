"""The notebook client against a running site."""

import importlib
import io
import pickle
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import nbformat
import pandas as pd
import pytest
from django.core.cache import cache
from django.db import connection, transaction
from drf_spectacular.generators import SchemaGenerator
from model_bakery import baker
from nbclient import NotebookClient
from redis import Redis

from accounts.tests.factories import a_token
from backtests import runner
from backtests.api.serializers import BRIEF_COLUMNS
from backtests.api.strategy_serializers import StrategySerializer
from backtests.models import BacktestResult
from backtests.strategies import STRATEGIES
from backtests.tests.factories import a_backtest, a_recorded_day, a_user
from backtests.tests.record_builders import record_passes
from markets.api.serializers import EVENT_ROW, MARKET_ROW, SeriesSerializer
from markets.intervals import Interval
from markets.models import (
    Market,
    MarketRevision,
    MarketSnapshot,
    OrderBookSnapshot,
    TapeSpan,
    Tier,
)
from markets.models.trades import trade_uuid
from markets.tests.factories import a_market, a_poll, a_snapshot, a_sweep, a_trade, observe
from markets.tests.settled_markets import make_settled_markets

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "notebooks"))
library = importlib.import_module("kalshi_insights_client")

TICKER = "KXRAIN-26NOV21"
NOON = datetime(2025, 11, 20, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def client(live_server):
    with library.Client(live_server.url) as client:
        yield client


@pytest.fixture
def market(transactional_db) -> Market:
    return a_market(TICKER)


def minutes(market: Market, bids: list[str | None]) -> None:
    """Store a snapshot each minute from noon on, with an ask of a dollar."""
    MarketSnapshot.objects.bulk_create(
        a_snapshot(
            market,
            NOON + timedelta(minutes=n),
            yes_bid=None if bid is None else Decimal(bid),
            yes_ask=Decimal(1),
            volume=Decimal(n),
        )
        for n, bid in enumerate(bids)
    )


# --- resources ----------------------------------------------------------------------------------


def test_it_tells_the_health_of_the_site(client):
    a_poll(datetime.now(UTC))
    health = client.health()
    assert health["status"] == "recording"
    assert health["newest_poll_at"].tzinfo is not None


def test_markets_are_a_frame_by_ticker_with_fitting_types(client, market):
    a_market("KXSUN-1", yes_bid=None, settlement_ts=NOON)
    frame = client.markets()
    assert list(frame.index) == [TICKER, "KXSUN-1"]
    assert frame.yes_bid.dtype == "float64"
    assert frame.yes_bid.iloc[0] == 0.42
    assert pd.isna(frame.yes_bid.iloc[1])
    assert frame.close_time.dtype == "datetime64[us, UTC]"
    assert frame.close_time.iloc[0] == market.close_time
    assert frame.settlement_ts.isna().to_list() == [True, False]
    assert frame.status.dtype == "category"
    assert frame.is_hot.dtype == "boolean"


def test_an_exact_client_has_decimals(live_server, market):
    a_market("KXSUN-1", yes_bid=None)
    observe(market, NOON, "0.4200", None)
    with library.Client(live_server.url, exact=True) as exact:
        assert exact.markets().yes_bid.to_list() == [Decimal("0.4200"), None]
        assert exact.market(TICKER)["yes_bid"] == Decimal("0.4200")
        quotes = exact.snapshots(TICKER)
    assert (quotes.yes_bid.iloc[0], quotes.yes_ask.iloc[0]) == (Decimal("0.4200"), None)


def test_a_list_is_read_to_its_end(client, monkeypatch):
    monkeypatch.setattr(library, "PAGE", 2)
    for n in range(5):
        a_market(f"KXSUN-{n}")
    assert list(client.markets().index) == [f"KXSUN-{n}" for n in range(5)]
    assert len(client.markets(limit=3)) == 3


def test_filters_are_those_of_the_api(client, market):
    soon = datetime.now(UTC) + timedelta(hours=1)
    a_market("KXSUN-1", close_time=soon, volume_24h=Decimal(5))
    assert list(client.markets(closes_before=soon + timedelta(hours=1)).index) == ["KXSUN-1"]
    assert list(client.markets(volume_min=5.5).index) == [TICKER]
    assert list(client.markets(two_sided=False).index) == []
    assert list(client.events(series="SKXSUN").index) == ["KXSUN"]
    assert list(client.series(q="RAIN").index) == ["SKXRAIN"]


def test_an_empty_list_has_the_columns_of_a_full_one(client, market):
    for read in (client.markets, client.events, client.series):
        full, empty = read(), read(q="nothing of the kind")
        assert len(empty) == 0
        assert list(empty.columns) == list(full.columns)
    assert client.markets(q="no").yes_bid.dtype == "float64"


def test_the_columns_of_an_empty_list_are_those_of_the_api():
    assert library.MARKETS.split() == MARKET_ROW
    assert library.EVENTS.split() == EVENT_ROW
    assert library.SERIES.split() == SeriesSerializer.Meta.fields
    assert set(library.BACKTESTS.split()) == set(BRIEF_COLUMNS)
    assert library.STRATEGIES.split() == list(StrategySerializer().fields)


def test_every_number_and_time_of_the_schema_is_read_as_one():
    schema = SchemaGenerator(urlconf="kalshi_insights.urls").get_schema(public=True)
    parts = schema["components"]["schemas"]
    read = [
        *("Series", "Event", "Market", "MarketDetail", "Snapshot", "Health", "Book", "Level"),
        "Backtest",
        "Search",
        "SearchPoint",
    ]
    fields = [field for name in read for field in parts[name]["properties"].items()]
    decimals = {name for name, field in fields if field.get("format") == "decimal"}
    times = {name for name, field in fields if field.get("format") == "date-time"}
    assert decimals
    assert times
    assert {library.KINDS.get(name) for name in decimals} == {"float64"}
    assert all(library.TIME.fullmatch(name) for name in times)


def test_one_market_has_its_event_and_its_grid(client, market):
    row = client.market(TICKER)
    assert (row["yes_bid"], row["floor_strike"]) == (0.42, None)
    assert row["close_time"] == market.close_time
    assert row["event"]["title"] == "Rain in New York"
    assert row["price_ranges"] == market.price_ranges


def test_a_market_is_told_as_it_was_known(client, market):
    for at, status in ((NOON - timedelta(days=2), "active"), (NOON - timedelta(days=1), "closed")):
        a_revision(market, at, status=status)
    assert client.market(TICKER, NOON - timedelta(days=1.5))["status"] == "active"
    assert client.market(TICKER, "2025-11-20")["status"] == "closed"
    assert client.markets(as_of="2025-11-20").status.to_list() == ["closed"]


# --- one market over time -----------------------------------------------------------------------


def a_revision(market: Market, at: datetime, **values: Any) -> None:
    baker.make(
        MarketRevision,
        market=market,
        known_at=at,
        recorded_at=at,
        open_time=at,
        price_ranges=market.price_ranges,
        **values,
    )


def test_latest_is_the_newest_snapshot(client, market):
    observe(market, NOON, "0.4000", "0.4100")
    row = client.latest(TICKER)
    assert (row["timestamp"], row["yes_ask"]) == (NOON, 0.41)


def test_snapshots_are_a_frame_by_time(client, market):
    minutes(market, ["0.10", None, "0.30", "0.40"])
    frame = client.snapshots(TICKER, NOON, NOON + timedelta(minutes=3))
    assert frame.index.dtype == "datetime64[us, UTC]"
    assert frame.index[0] == NOON
    assert frame.yes_bid.dtype == "float64"
    assert frame.yes_bid.fillna(-1).to_list() == [0.1, -1, 0.3]
    assert frame.sequence.dtype == "Int64"
    assert frame.source.dtype == "category"
    assert len(client.snapshots(TICKER, source="BACKFILL")) == 0


def test_what_a_snapshot_did_not_parse_is_read(client, market):
    a_snapshot(market, NOON, raw_data={"new": [1]}).save()
    a_snapshot(market, NOON + timedelta(minutes=1)).save()
    row = client.snapshots(TICKER).raw_data
    assert row.iloc[0] == {"new": [1]}
    assert row.isna().to_list() == [False, True]


def test_candlesticks_are_a_frame_by_the_start_of_their_bucket(client, market):
    minutes(market, ["0.10", "0.30", "0.20"])
    frame = client.candlesticks(TICKER, NOON, NOON + timedelta(hours=1), interval="1h")
    assert list(frame.index) == [NOON]
    candle = frame.iloc[0]
    assert (candle.yes_bid_open, candle.yes_bid_high, candle.yes_bid_close) == (0.1, 0.3, 0.2)
    assert candle.snapshots == 3
    assert (candle.state, frame.state.dtype) == ("recorded", "category")


def test_candlesticks_tell_quiet_buckets_from_unobserved_ones(client, market):
    Market.objects.update(open_time=NOON)
    minutes(market, ["0.10"])
    for second in range(0, 150, 30):
        a_sweep(Tier.UNIVERSE, NOON + timedelta(seconds=second))
    frame = client.candlesticks(TICKER, NOON, NOON + timedelta(minutes=4))
    assert frame.state.to_list() == ["recorded", "quiet", "unobserved", "unobserved"]
    other = client.candlesticks(TICKER, NOON, NOON + timedelta(minutes=1), source="BACKFILL")
    assert other.state.to_list() == ["unobserved"]


def test_candlesticks_of_a_part_of_a_minute_are_of_the_whole_minute(client, market):
    minutes(market, [f"0.{n}0" for n in range(1, 8)])
    frame = client.candlesticks(TICKER, NOON + timedelta(seconds=59), NOON + timedelta(minutes=6))
    assert list(frame.index) == [NOON + timedelta(minutes=n) for n in range(6)]
    assert frame.volume.iloc[1:].to_list() == [1.0] * 5


def test_a_month_of_minutes_needs_no_care(client, market):
    minutes(market, ["0.10", "0.30"])
    frame = client.candlesticks(TICKER, "2025-11-01", "2025-12-01")
    assert frame.yes_bid_close.dropna().to_list() == [0.1, 0.3]
    assert (frame.index[0], len(frame)) == (NOON, 10 * 1440 + 720)


def test_a_calibration_has_frames_of_its_bins_and_of_its_markets(client):
    cache.clear()
    make_settled_markets(30)
    found = client.calibration(bins=5, minimum=2)
    assert found["coverage"]["eligible"] == 120
    assert found["curve"]["count"].sum() == found["coverage"]["used"]
    assert found["curve"].outcome.iloc[0] < found["curve"].outcome.iloc[4]
    assert {"fee", "net", "net_low"} <= set(found["returns_no"].columns)
    markets = client.calibration_markets(bins=5, bin=4)
    assert len(markets) == found["curve"]["count"].iloc[4]
    assert (markets.price >= 0.8).all()
    assert (markets.quoted_at <= markets.observed_at).all()
    assert markets.yes_bid.dtype == "float64"


def test_outages_are_a_frame_by_their_start(client, market):
    for minute in (0, 3):
        a_poll(NOON + timedelta(minutes=minute), seconds=0)
    frame = client.outages("2025-11-20", NOON + timedelta(minutes=1))
    assert list(frame.index) == [NOON]
    assert (frame.seconds.to_list(), frame.cause.to_list()) == ([180.0], ["our outage"])
    assert frame.end.iloc[0] == NOON + timedelta(minutes=3)
    assert len(client.outages()) == 2
    assert list(client.outages("2025-11-19", "2025-11-20").columns) == [
        "end",
        "cause",
        "detail",
        "seconds",
    ]


def test_trades_are_a_frame_by_time(client, market):
    for n, block in enumerate([False, True]):
        a_trade(market, NOON + timedelta(minutes=n), f"t{n}", is_block_trade=block)
    frame = client.trades(TICKER, "2025-11-20")
    assert (frame["count"].sum(), frame.is_block_trade.to_list()) == (3.0, [False, True])
    assert client.trades(TICKER, block=False).trade_id.to_list() == [str(trade_uuid("t0"))]
    assert (
        client.trades(start="2025-11-20", end="2025-11-21", source="BACKFILL").ticker.to_list()
        == [TICKER] * 2
    )


def test_spans_of_the_tape_are_a_frame_by_their_start(client, market):
    assert client.tape().empty
    with transaction.atomic():
        TapeSpan.objects.mark_open(Interval(NOON, NOON + timedelta(minutes=1)))
    frame = client.tape("2025-11-20")
    assert (frame.seconds.to_list(), frame.is_whole.to_list()) == ([60.0], [False])


def test_revisions_are_a_frame_by_when_they_were_known(client, market):
    a_revision(market, NOON, status="active", close_time=NOON)
    a_revision(market, NOON + timedelta(hours=1), status="closed")
    frame = client.revisions(TICKER)
    assert frame.status.to_list() == ["active", "closed"]
    assert frame.close_time.isna().to_list() == [False, True]
    assert frame.price_ranges.iloc[0] == market.price_ranges


def test_coverage_tells_the_gaps_as_a_frame(client, market):
    now = datetime.now(UTC)
    a_revision(market, now - timedelta(days=1), status="active")
    row = client.coverage(TICKER, now - timedelta(hours=1), now)
    gaps = row["gaps"]
    assert (row["share"], row["observed"], row["fresh"]) == (0, timedelta(0), timedelta(0))
    assert (row["stale"].start.iloc[0], row["sources"]) == (
        row["start"],
        {"POLL": timedelta(0)},
    )
    assert (gaps.start.iloc[0], gaps.end.iloc[-1]) == (row["start"], row["end"])
    assert gaps.counted.dtype == "boolean"


def test_a_market_that_was_observed_throughout_has_no_gaps(client, market):
    now = datetime.now(UTC)
    a_revision(market, now - timedelta(days=1), status="active")
    observe(market, now - timedelta(minutes=61), "0.4000", "0.4100")
    for minute in range(130):
        a_sweep(Tier.UNIVERSE, now - timedelta(minutes=minute))
    row = client.coverage(TICKER, now - timedelta(hours=1), now - timedelta(minutes=1))
    assert (len(row["gaps"]), row["share"]) == (0, 1.0)
    assert list(row["gaps"].columns) == ["start", "end", "cause", "detail", "counted"]


def a_book(market: Market, at: datetime) -> None:
    OrderBookSnapshot.objects.create(
        id=uuid4(),
        market=market,
        timestamp=at,
        bid_prices=[Decimal("0.4200"), Decimal("0.4100")],
        bid_sizes=[Decimal(5), Decimal(7)],
        ask_prices=[],
        ask_sizes=[],
    )


def test_an_order_book_has_its_sides_the_best_level_first(client, market):
    a_book(market, NOON - timedelta(days=1))
    book = client.orderbook(TICKER, depth=1)
    assert (book["ticker"], book["timestamp"]) == (TICKER, NOON - timedelta(days=1))
    assert book["bids"].to_dict("list") == {"price": [0.42], "size": [5.0]}
    assert list(book["asks"].columns) == ["price", "size"]
    with pytest.raises(library.NotFound):
        client.orderbook(TICKER, as_of="2025-11-18")


# --- times --------------------------------------------------------------------------------------


def test_a_time_without_a_zone_is_refused(client):
    for naive in (datetime(2025, 11, 20, 12), "2025-11-20T12:00", pd.Timestamp("2025-11-20")):  # noqa: DTZ001
        with pytest.raises(ValueError, match="start needs a time zone"):
            client.snapshots(TICKER, naive)


def test_what_is_no_time_is_refused(client):
    with pytest.raises(ValueError, match="yesterday"):
        client.snapshots(TICKER, "yesterday")


def test_times_may_be_written_in_many_ways(client, market):
    minutes(market, ["0.10"])
    ways = (
        "2025-11-20",
        "2025-11-20T13:00:00+01:00",
        "2025-11-20T12:00:00Z",
        NOON.date(),
        pd.Timestamp(NOON),
        pd.Timestamp(NOON).tz_convert("America/New_York"),
    )
    assert [len(client.snapshots(TICKER, way)) for way in ways] == [1] * len(ways)


# --- backtests ----------------------------------------------------------------------------------

SPAN = (NOON, NOON + timedelta(hours=6))


@pytest.fixture
def trader(live_server, transactional_db):
    token = a_token(a_user("trader"), "backtest")
    with library.Client(live_server.url, token=token) as client:
        yield client


@pytest.fixture
def worker(monkeypatch):
    """Run queued backtests whenever the client asks for their progress."""

    def work(seconds: float) -> None:
        for id in BacktestResult.objects.filter(status="queued").values_list("pk", flat=True):
            runner.run(id)

    monkeypatch.setattr("time.sleep", work)


def test_strategies_are_a_frame_with_what_they_can_be_told(client, transactional_db):
    frame = client.strategies()
    assert list(frame.index) == list(STRATEGIES)
    assert frame.loc["fade-longshots"].parameters[0]["name"] == "ceiling"
    assert frame.kind.dtype == "category"


def test_a_backtest_is_run_and_waited_for(trader, worker):
    a_recorded_day(TICKER)
    run = trader.backtest(
        "fade-longshots",
        *SPAN,
        tickers=[TICKER],
        params={"belief": 0.3},
        execution={"across_gaps": "wait"},  # the quotes are ten minutes apart
    )
    assert run.status == "done"
    assert run.verdict.startswith("Earned $")
    assert run.pnl == run.figures["money"]["pnl"] / 1_000_000 > 0
    executions = run.executions()
    assert executions.kind.to_list() == ["order", "fill", "settled"]
    assert executions.index[0] >= NOON
    assert executions.cash.dtype == "float64"
    series = run.series(executions.ticker.iloc[0])
    assert list(series.columns) == ["stated probability", "bid", "ask"]
    assert series.bid.iloc[0] == 0.10
    equity = run.equity()
    assert equity.index.dtype == "datetime64[us, UTC]"
    assert equity.equity.iloc[-1] == pytest.approx(10_000 + run.pnl)
    compared = run.compared()
    assert compared.loc["money.pnl", "do-nothing"] == 0
    assert compared.loc["money.pnl", "fewest"] == run.figures["money"]["pnl"]
    assert trader.run(run.id).verdict == run.verdict
    assert trader.backtests(status="done").pnl.to_list() == [run.pnl]


def test_an_exact_client_has_a_backtests_decimals(live_server, trader):
    done = a_backtest()
    with library.Client(live_server.url, exact=True) as exact:
        assert exact.run(done.pk).pnl == Decimal("14.310000")


def test_a_backtest_that_makes_no_sense_is_refused_by_name(trader, market):
    with pytest.raises(library.Invalid) as refused:
        trader.backtest("fade-longshots", *SPAN, tickers=[TICKER], params={"ceiling": 9})
    assert list(refused.value.details) == ["params.ceiling"]


def test_without_a_token_nothing_is_run(client, market):
    with pytest.raises(library.ApiError) as refused:
        client.backtest("do-nothing", *SPAN, tickers=[TICKER])
    assert refused.value.code == "not_authenticated"


def test_one_need_not_wait_and_may_cancel(trader):
    a_recorded_day(TICKER)
    run = trader.backtest("do-nothing", *SPAN, tickers=[TICKER], cash=Decimal("99.5"), wait=False)
    assert (run.status, run.data["cash"], run.pnl) == ("queued", 99.5, None)
    assert run.cancel().status == "cancelled"
    with pytest.raises(library.Failed, match="cancelled"):
        run.wait()


def test_a_failure_says_why(client, transactional_db):
    run = client.run(a_backtest("failed").pk)
    with pytest.raises(library.Failed, match="odd"):
        run.wait()


def test_waiting_shows_how_far_it_is_on_a_terminal(trader, worker, monkeypatch):
    a_recorded_day(TICKER)
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    trader.backtest("do-nothing", *SPAN, tickers=[TICKER])
    assert f"[{'.' * library.BAR}]   0%" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\033[K")


# --- refusals and failures ----------------------------------------------------------------------


def test_an_unknown_market_is_not_found(client, transactional_db):
    for read in (client.market, client.latest, client.snapshots, client.coverage):
        with pytest.raises(library.NotFound, match="KXNONE"):
            read("KXNONE/../1 %00")


def test_what_makes_no_sense_is_refused_by_name(client, market):
    with pytest.raises(library.Invalid) as refused:
        client.markets(colour="red")
    assert list(refused.value.details) == ["colour"]
    with pytest.raises(library.Invalid, match="end"):
        client.snapshots(TICKER, "2025-11-20", "2025-11-19")
    with pytest.raises(library.Invalid, match="interval"):
        client.candlesticks(TICKER, interval="2m")


@pytest.fixture
def limited(settings, transactional_db):
    """Allow ten requests at once per address, then one a second, without a limit for users."""
    settings.API_RATE_ANONYMOUS = 1.0
    server = Redis.from_url(settings.REDIS_URL)
    yield
    for key in server.keys("api:rate:*"):
        server.delete(key)
    server.close()


def test_it_waits_where_there_were_too_many_requests(client, limited):
    assert [len(client.markets()) for _ in range(12)] == [0] * 12


def test_it_gives_up_where_the_wait_is_longer_than_its_patience(live_server, limited, settings):
    settings.API_RATE_ANONYMOUS = 0.1
    with library.Client(live_server.url, patience=5) as client:
        client.markets()
        with pytest.raises(library.Throttled) as refused:
            client.markets()
    assert refused.value.retry_after == 10
    assert refused.value.code == "throttled"


def test_a_token_is_sent(live_server, limited):
    key = a_token(a_user("reader"))
    with library.Client(live_server.url, token=key, patience=0) as client:
        assert [len(client.markets()) for _ in range(12)] == [0] * 12
        account = client.account()
    assert (account["username"], account["scopes"]) == ("reader", ["read", "backtest"])
    assert (account["token"]["scope"], account["token"]["created_at"].tzinfo) == ("read", UTC)
    stranger = library.Client(live_server.url, token="wrong")
    with stranger, pytest.raises(library.ApiError) as refused:
        stranger.markets()
    assert refused.value.code == "authentication_failed"


def test_a_site_that_is_not_there_is_unreachable():
    nowhere = library.Client("http://127.0.0.1:9")
    with nowhere, pytest.raises(library.Unreachable, match=r"127\.0\.0\.1:9"):
        nowhere.health()


@pytest.fixture
def answering():
    """A server on loopback that sends these bytes for every request and hangs up."""
    servers = []

    def start(answer: bytes) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        threading.Thread(target=serve, args=(server, answer), daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}"

    yield start
    for server in servers:
        server.close()


def serve(server: socket.socket, answer: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(answer)


def test_what_a_proxy_says_in_its_own_words_is_an_error_too(answering):
    page = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\n<p/>"
    with library.Client(answering(page)) as client, pytest.raises(library.ApiError) as failed:
        client.health()
    assert failed.value.code == "http_502"
    assert "502 Bad Gateway" in str(failed.value)


def test_half_a_download_is_never_half_a_table(answering, live_server, market):
    minutes(market, ["0.10"])
    url = f"{live_server.url}/api/v1/markets/{TICKER}/snapshots/?format=parquet"
    whole = httpx.get(url).content
    half = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + whole[: len(whole) // 2]
    client = library.Client(answering(half))
    with client, pytest.raises(library.Unreachable, match="incomplete"):
        client.snapshots(TICKER)


def test_an_answer_that_breaks_off_is_unreachable(answering):
    client = library.Client(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"))
    with client, pytest.raises(library.Unreachable):
        client.health()


def test_an_error_travels_between_processes():
    error = pickle.loads(pickle.dumps(library.ApiError("invalid", "limit: no", {"limit": ["no"]})))  # noqa: S301
    assert (error.code, str(error), error.details) == ("invalid", "limit: no", {"limit": ["no"]})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_long_download_shows_how_far_it_is_on_a_terminal(client, market, monkeypatch):
    monkeypatch.setattr(library, "PROGRESS_DELAY", 0)
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    client.snapshots(TICKER)
    assert "MB" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\033[K")


def test_a_download_shows_nothing_elsewhere(client, market, monkeypatch, capsys):
    monkeypatch.setattr(library, "PROGRESS_DELAY", 0)
    client.snapshots(TICKER)
    assert capsys.readouterr().err == ""


def documented() -> list[str]:
    text = (ROOT / "docs" / "api.md").read_text()
    return re.findall(r'^curl .*?"\$API(/[^"]*)"', text, flags=re.MULTILINE)


@pytest.mark.parametrize("address", documented())
def test_what_the_documentation_asks_for_is_understood(live_server, market, address):
    a_revision(market, NOON, status="active")
    observe(market, NOON, "0.4000", "0.4100")
    a_book(market, NOON)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    run = str(a_backtest().pk)
    path = re.sub(r"=2026-11-2\d", f"={yesterday}", address.replace("$T", TICKER))
    path = path.replace("$B", run)
    token = {"Authorization": f"Token {a_token(a_user('reader'))}"}
    answer = httpx.get(f"{live_server.url}/api/v1{path}", headers=token)
    has_no_offset = address.endswith("T00:00:00")
    assert answer.status_code == (400 if has_no_offset else 200), answer.text


def test_the_documentation_has_ten_calls_and_more():
    assert len(documented()) > 10


@contextmanager
def a_worker() -> Iterator[None]:
    """Run queued backtests, as Celery does."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(0.2):
            for id in BacktestResult.objects.filter(status="queued").values_list("pk", flat=True):
                runner.run(id)
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def outputs_of_notebook(
    monkeypatch: pytest.MonkeyPatch,
    name: str = "05-api-client",
    *,
    url: str,
    token: str = "",
    since: str = "",
) -> str:
    """Run a notebook against a site, from a heading on, and return what its cells show.

    Its kernel is Python's own, and knows of this project no more than the client beside it.
    """
    monkeypatch.setenv("INSIGHTS_URL", url)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "notebooks"))
    if token:
        monkeypatch.setenv("INSIGHTS_TOKEN", token)
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    begins = (n for n, cell in enumerate(notebook.cells) if cell.source.startswith(since))
    notebook.cells = notebook.cells[next(begins) :]
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    return str([cell.get("outputs") for cell in notebook.cells])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_notebook_shows_what_the_site_has_and_runs_a_backtest_there(
    live_server, market, monkeypatch
):
    minutes(market, ["0.10", "0.30"])
    a_revision(market, NOON, status="active")
    observe(market, datetime.now(UTC) - timedelta(hours=1), "0.4000", "0.4100")
    a_recorded_day("KXSNOW-26NOV21")
    record_passes(NOON, NOON + timedelta(hours=6))
    token = a_token(a_user("reader"), "backtest")
    with a_worker():
        shown = outputs_of_notebook(monkeypatch, url=live_server.url, token=token)
    for words in ("Rain in New York", "image/png", "Earned $"):
        assert words in shown


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_notebook_runs_no_backtest_without_a_token(live_server, market, monkeypatch):
    observe(market, datetime.now(UTC) - timedelta(hours=1), "0.4000", "0.4100")
    shown = outputs_of_notebook(monkeypatch, url=live_server.url)
    assert "Without a token" in shown
    assert "not recording yet" in shown


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_half_about_the_api_of_the_notebook_on_calibration_needs_the_client_alone(
    live_server, market, monkeypatch
):
    cache.clear()
    shown = outputs_of_notebook(
        monkeypatch, "04-calibration", url=live_server.url, since="## The same from elsewhere"
    )
    assert "0 markets, a day before the close" in shown
