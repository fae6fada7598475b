"""The tier that follows the tape: whose trades it keeps, what it costs, and what it waits for."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.urls import reverse

from markets.intervals import Interval
from markets.models import (
    ArchivedDay,
    Drift,
    Market,
    TapeDay,
    TapeSpan,
    Trade,
    WaitingTrade,
)
from markets.models.tape_scope import Extent, TapeScope
from markets.recording.scope import scope
from markets.storage import partitions
from markets.storage.partitions import TRADES, DayPartition
from markets.tests.factories import a_market
from markets.tests.fake_exchange import market_json
from markets.tests.fake_tape import LONG_AGO
from markets.tests.test_recorder import tick

NOW = datetime.now(UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _now(monkeypatch):
    """Let trades come while a test runs, however long after the others that is."""
    monkeypatch.setattr(f"{__name__}.NOW", datetime.now(UTC))


@pytest.fixture(autouse=True)
def fresh_scope():
    scope.forget()
    yield
    scope.forget()


def tickers_of_trades():
    return list(Trade.objects.oldest_first().values_list("market__ticker", flat=True))


def paths(exchange, path="/markets/trades"):
    return [r for r in exchange.requests if r.url.path.endswith(path)]


class TestFollowing:
    def test_a_run_records_the_trades_of_recorded_markets(self, exchange):
        exchange.list("KXA-1-X", "KXA-1-Y")
        tick(exchange)
        for n in range(1, 4):
            exchange.tape.add(n, NOW + n * SECOND, "KXA-1-Y" if n == 2 else "KXA-1-X")
        poll = tick(exchange)
        assert (poll.error, "trades" in poll.warning) == ("", False)
        assert tickers_of_trades() == ["KXA-1-X", "KXA-1-Y", "KXA-1-X"]
        trade = Trade.objects.get(pk=UUID(int=2))
        assert (trade.source, trade.contracts, trade.price) == ("TAPE", 1250, 4200)
        assert NOW < trade.known_at <= trade.recorded_at
        before = list(Trade.objects.order_by("pk").values())
        tick(exchange)
        assert list(Trade.objects.order_by("pk").values()) == before
        assert TapeSpan.objects.get().is_whole

    def test_the_day_of_a_trade_is_there_before_it_is_written(self, exchange):
        exchange.list("KXA-1-X")
        tick(exchange)
        exchange.tape.add(1, LONG_AGO)
        tick(exchange)
        assert partitions.days_without_partition([TRADES]) == []
        assert Trade.objects.get().created_time == LONG_AGO
        partitions.drop(DayPartition(TRADES, LONG_AGO.date()), str)

    def test_it_takes_at_most_a_quarter_of_the_tokens(self, exchange):
        exchange.list("KXA-1-X")
        tick(exchange)
        exchange.tape.per_page = 2
        for n in range(1, 61):
            exchange.tape.add(n, NOW - 2 * HOUR + n * SECOND)
        tick(exchange)
        for n in range(61, 100):
            exchange.tape.add(n, NOW - HOUR + n * SECOND)
        exchange.requests.clear()
        tick(exchange)
        # A run's tokens pay for 30 requests.
        assert 5 < len(paths(exchange)) <= 8
        assert TapeSpan.objects.open().exists()

    def test_its_failure_costs_no_quote(self, exchange):
        exchange.list("KXA-1-X")
        tick(exchange)
        exchange.tape.add(1, NOW, count_fp="many")
        exchange.quote("KXA-1-X", "0.1000", "0.2000")
        poll = tick(exchange)
        assert (poll.error, poll.snapshots) == ("", 1)
        assert "trades" in poll.warning

    def test_a_trade_that_cannot_be_read_is_counted_and_noted(self, exchange):
        exchange.list("KXA-1-X")
        tick(exchange)
        exchange.tape.add(1, NOW)
        exchange.tape.add(2, NOW + SECOND, count_fp="many")
        exchange.tape.add(3, NOW + 2 * SECOND)
        assert tick(exchange).rejected == 1
        assert Drift.objects.get(where__startswith="trade.$.count_fp").count == 1
        assert Trade.objects.count() == 2

    def test_a_trade_of_the_future_is_refused_and_ends_no_walk(self, exchange):
        exchange.list("KXA-1-X")
        tick(exchange)
        exchange.tape.per_page = 3
        exchange.tape.add(0, NOW - HOUR)
        exchange.tape.add(1, NOW - HOUR + SECOND)
        exchange.tape.add(99, NOW + 24 * HOUR)
        for n in range(2, 20):
            if n % 6 == 2:  # more than a page of them
                tick(exchange)
            exchange.tape.add(n, NOW - HOUR + n * SECOND)
        assert tick(exchange).rejected > 0
        assert Drift.objects.get(where__startswith="trade.$.created_time").count > 1
        assert Trade.objects.count() == 20
        span = TapeSpan.objects.newest()
        assert (span.is_whole, span.end) == (True, NOW - HOUR + 19 * SECOND)

    def test_a_trade_that_is_dated_minutes_ahead_is_kept_and_ends_no_walk(self, exchange):
        exchange.clock_ahead = timedelta()
        exchange.list("KXA-1-X")
        tick(exchange)
        exchange.tape.per_page = 3
        exchange.tape.add(0, NOW - HOUR)
        exchange.tape.add(1, NOW - HOUR + SECOND)
        exchange.tape.add(99, NOW + HOUR / 12)
        for n in range(2, 20):
            if n % 6 == 2:  # more than a page of them
                tick(exchange)
            exchange.tape.add(n, NOW - HOUR + n * SECOND)
        assert tick(exchange).rejected == 0
        assert Trade.objects.count() == 21
        span = TapeSpan.objects.newest()
        assert (span.is_whole, span.end) == (True, NOW - HOUR + 19 * SECOND)
        assert not TapeSpan.objects.open().exists()

    def test_an_exchange_whose_clock_is_ahead_is_followed_by_it(self, exchange):
        ahead = exchange.clock_ahead = 2 * HOUR
        exchange.list("KXA-1-X")
        tick(exchange)
        for n in range(5):
            exchange.tape.add(n, NOW + ahead - (5 - n) * SECOND)
        poll = tick(exchange)
        assert (poll.rejected, Trade.objects.count()) == (0, 5)
        assert TapeSpan.objects.get().end == NOW + ahead - SECOND

    def test_a_side_that_the_contract_lacks_is_unknown_and_noted(self, exchange):
        exchange.list("KXA-1-X")
        tick(exchange)
        exchange.tape.add(1, NOW, taker_outcome_side="maybe", venue="floor")
        tick(exchange)
        assert Trade.objects.get().taker_side is None
        noted = set(Drift.objects.values_list("where", flat=True))
        assert {"trade.taker_outcome_side=maybe", "trade.venue"} <= noted


class TestWhose:
    def test_combos_prove_the_join_and_are_not_kept(self, exchange):
        exchange.list("KXA-1-X")
        tick(exchange)
        exchange.tape.add(1, NOW, "KXMVE-1-X")
        exchange.tape.add(2, NOW + SECOND, "KXA-1-X")
        tick(exchange)
        exchange.tape.add(3, NOW + 2 * SECOND, "KXMVE-1-X")
        tick(exchange)
        assert tickers_of_trades() == ["KXA-1-X"]
        assert not WaitingTrade.objects.exists()
        assert TapeSpan.objects.newest().end == NOW + 2 * SECOND
        assert UUID(int=3) in TapeSpan.objects.newest().newest_ids

    def test_combos_that_are_recorded_have_their_trades(self, exchange, settings):
        settings.RECORD_COMBOS = True
        exchange.combos = ["KXMVE-1"]
        tick(exchange)
        exchange.tape.add(1, NOW, "KXMVE-1-X")
        exchange.tape.add(2, NOW + SECOND, "KXMVE-1-X")
        tick(exchange)
        assert tickers_of_trades() == ["KXMVE-1-X"] * 2
        assert TapeSpan.objects.get().with_combos

    def test_of_the_hot_list_alone(self, exchange, settings):
        settings.RECORD_TRADES, settings.HOT_MARKETS = "hot", 1
        exchange.list("KXA-1-X", volume_24h_fp="9000.00")
        exchange.list("KXA-1-Y")
        tick(exchange)
        for n, ticker in enumerate(("KXA-1-X", "KXA-1-Y", "KXNEW-1-X", "KXA-1-X"), 1):
            exchange.tape.add(n, NOW + n * SECOND, ticker)
        tick(exchange)
        assert tickers_of_trades() == ["KXA-1-X"] * 2
        assert not WaitingTrade.objects.exists()
        assert TapeSpan.objects.get().extent == Extent.HOT
        window = Interval(NOW - HOUR, NOW + HOUR)
        assert TapeSpan.objects.whole(window) != []
        settings.RECORD_TRADES = "all"
        assert TapeSpan.objects.whole(window) == []

    def test_of_none(self, exchange, settings):
        settings.RECORD_TRADES = "none"
        exchange.list("KXA-1-X")
        exchange.tape.add(1, NOW)
        tick(exchange)
        assert not Trade.objects.exists()
        assert paths(exchange) == []


class TestUnknownMarkets:
    def test_a_trade_waits_until_its_market_is_fetched_by_name(self, exchange):
        exchange.list("KXA-1-X")
        tick(exchange)
        exchange.historical["KXOLD-1-X"] = market_json("KXOLD-1-X", status="finalized")
        exchange.tape.add(1, NOW, "KXOLD-1-X")
        exchange.tape.add(2, NOW + SECOND, "KXA-1-X")
        tick(exchange)
        [waiting] = WaitingTrade.objects.all()
        assert (waiting.ticker, waiting.created_time) == ("KXOLD-1-X", NOW)
        assert Market.objects.filter(ticker="KXOLD-1-X").exists()
        tick(exchange)
        assert not WaitingTrade.objects.exists()
        assert tickers_of_trades() == ["KXOLD-1-X", "KXA-1-X"]
        assert Trade.objects.get(pk=UUID(int=1)).known_at == waiting.known_at

    def test_a_market_that_nobody_knows_is_asked_for_again_and_never_lost(self, exchange):
        exchange.list("KXA-1-X")
        tick(exchange)
        exchange.tape.add(1, NOW, "KXLATER-1-X")
        exchange.tape.add(2, NOW + SECOND)
        tick(exchange)
        asked = [r for r in paths(exchange, "/markets") if "KXLATER-1-X" in str(r.url)]
        tick(exchange)
        again = [r for r in paths(exchange, "/markets") if "KXLATER-1-X" in str(r.url)]
        assert (len(asked), len(again)) == (2, 2)  # in both tiers, and not at once again
        WaitingTrade.objects.update(asked_at=NOW - HOUR)
        exchange.list("KXLATER-1-X", status="closed")
        tick(exchange)
        tick(exchange)
        assert tickers_of_trades() == ["KXLATER-1-X", "KXA-1-X"]

    def test_a_market_that_fails_the_request_does_not_hold_up_the_others(self, exchange):
        exchange.list("KXA-1-X")
        tick(exchange)
        exchange.poison, exchange.poisoned_path = {"KXBAD-1-X"}, "/historical/markets"
        exchange.historical["KXBAD-1-X"] = market_json("KXBAD-1-X", status="finalized")
        exchange.historical["KXGOOD-1-X"] = market_json("KXGOOD-1-X", status="finalized")
        with transaction.atomic():
            for n, ticker in enumerate(("KXBAD-1-X", "KXGOOD-1-X"), 1):
                WaitingTrade.objects.create(
                    trade_id=UUID(int=n),
                    ticker=ticker,
                    created_time=NOW,
                    known_at=NOW,
                    contracts=100,
                    price=4200,
                    is_block_trade=False,
                )
        tick(exchange)
        tick(exchange)
        assert tickers_of_trades() == ["KXGOOD-1-X"]
        assert WaitingTrade.objects.get().ticker == "KXBAD-1-X"


class TestByHand:
    @pytest.fixture
    def exchange(self, exchange, monkeypatch):
        client = exchange.client()
        monkeypatch.setattr("markets.management.commands.tape.kalshi_client", lambda: client)
        a_market("KXA-1-X")
        for n in range(1, 31):
            exchange.tape.add(n, NOW - HOUR + n * SECOND)
        exchange.tape.cutoff = NOW - HOUR + 10.5 * SECOND
        return exchange

    def test_a_window_is_read_in_both_tiers(self, exchange, capsys):
        window = Interval(NOW - HOUR, NOW - HOUR / 2)
        exchange.tape.per_page = 4
        call_command("tape", "--from", f"{window.start:%FT%T%z}", "--to", f"{window.end:%FT%T%z}")
        assert Trade.objects.count() == 30
        assert TapeSpan.objects.share(window) > 0.999
        assert capsys.readouterr().out.startswith("30 trades are new; ")

    def test_what_is_listed_later_was_known_when_it_happened(self, exchange):
        exchange.tape.add(31, NOW - HOUR / 2, "KXNEW-1-X")
        call_command("tape", "--from", f"{NOW - HOUR:%FT%T%z}")
        listed = [*Trade.objects.all(), *WaitingTrade.objects.all()]
        assert len(listed) == 31
        assert all(trade.known_at == trade.created_time for trade in listed)

    def test_what_is_whole_is_not_read_again(self, exchange):
        start = f"{NOW - HOUR:%FT%T%z}"
        call_command("tape", "--from", start)
        exchange.requests.clear()
        call_command("tape", "--from", start)
        assert len(paths(exchange)) == 1
        assert Trade.objects.count() == 30

    def test_of_a_hot_list_it_tells_whose_trades_it_has(self, exchange, settings, capsys):
        settings.RECORD_TRADES = "hot"
        start = f"{NOW - HOUR:%FT%T%z}"
        call_command("tape", "--from", start)
        call_command("tape", "--from", start)
        told = capsys.readouterr()
        assert told.out.endswith("of the time is whole for the recorded markets of the hot list.\n")
        assert "on the hot list then, nobody knows" in told.err
        assert "Run the same command again" not in told.err

    def test_of_a_hot_list_a_window_is_listed_once(self, exchange, settings):
        settings.RECORD_TRADES = "hot"
        words = ["--from", f"{NOW - HOUR:%FT%T%z}", "--to", f"{NOW - HOUR / 2:%FT%T%z}"]
        call_command("tape", *words)
        exchange.requests.clear()
        call_command("tape", *words)
        assert paths(exchange) == []
        settings.RECORD_TRADES = "all"
        call_command("tape", *words)
        assert paths(exchange) != []

    def test_a_day_whose_trades_were_dropped_is_not_listed_again(self, exchange, capsys):
        start, end = NOW - 48 * HOUR, NOW - 24 * HOUR
        words = ["--from", f"{start:%FT%T%z}", "--to", f"{end:%FT%T%z}"]
        call_command("tape", *words)
        partition = DayPartition(TRADES, start.date())
        ArchivedDay.objects.create(
            table=TRADES, day=partition.day, rows=1, schema_version=1, verified_at=NOW
        )
        ArchivedDay.objects.mark_dropped(partition, NOW)
        exchange.requests.clear()
        call_command("tape", *words)
        assert paths(exchange) == []
        assert f"The trades of {partition.day} are no longer kept" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("words", "named"),
        [
            (["--from", "2026-13-01"], "--from"),
            (["--from", "2026-11-02", "--to", "2026-11-01"], "--from"),
            (["--from", "2026-11-01", "--to", "2099-01-01"], "--to"),
        ],
    )
    def test_bad_input_is_named(self, words, named):
        with pytest.raises(CommandError, match=named):
            call_command("tape", *words)


def test_the_recorder_page_tells_of_open_spans_days_and_waiting_trades(client):
    assert "No trades were recorded yet" in client.get(reverse("markets:recorder")).text
    with transaction.atomic():
        TapeSpan.objects.mark(Interval(NOW - HOUR, NOW), TapeSpan(is_whole=True))
        TapeSpan.objects.mark_open(Interval(NOW - 3 * HOUR, NOW - 2 * HOUR))
    TapeDay.objects.create(
        day=NOW.date(),
        markets=3,
        agreeing=2,
        volume=150,
        contracts=150,
        share=0.99999,
        compared_at=NOW,
    )
    page = client.get(reverse("markets:recorder")).text
    assert "Trades may be missing in 1 span" in page
    assert "99.9 %" in page


def test_the_api_lists_the_spans(client):
    with transaction.atomic():
        TapeSpan.objects.mark_open(Interval(NOW - HOUR, NOW))
    [row] = client.get("/api/v1/tape/").json()["results"]
    assert (row["seconds"], row["is_whole"], row["proof"]) == (3600.0, False, "")
    later = {"start": f"{NOW + HOUR:%FT%TZ}"}
    assert client.get("/api/v1/tape/", later).json()["results"] == []


def test_the_api_tells_whose_trades_a_span_has_and_since_when(client, settings):
    settings.RECORD_SERIES = frozenset({"KXA"})
    with transaction.atomic():
        TapeSpan.objects.mark_whole(
            Interval(NOW - HOUR, NOW),
            TapeSpan(is_whole=True, **TapeScope.of_settings()._asdict()),
            at=NOW,
        )
    live, late = client.get("/api/v1/tape/").json()["results"]
    assert (live["series"], live["categories"], live["known_at"]) == (["KXA"], [], None)
    assert late["known_at"] > f"{NOW:%FT%T}"


def test_the_api_compares_each_day_with_its_volumes(client):
    TapeDay.objects.create(
        day=NOW.date(),
        markets=3,
        agreeing=2,
        volume=1_250,
        contracts=150,
        share=0.5,
        compared_at=NOW,
    )
    [row] = client.get("/api/v1/tape/days/").json()["results"]
    assert (row["day"], row["markets"], row["agreeing"]) == (f"{NOW:%F}", 3, 2)
    assert (row["contracts"], row["volume"], row["share"]) == ("1.50", "12.50", 0.5)


def test_the_recorder_page_tells_whose_trades_are_kept(client, settings):
    settings.RECORD_SERIES, settings.RECORD_CATEGORIES = frozenset({"KXA"}), frozenset({"Climate"})
    scope = TapeScope.of_settings()._asdict()
    with transaction.atomic():
        TapeSpan.objects.mark(Interval(NOW - HOUR, NOW), TapeSpan(is_whole=True, **scope))
    page = client.get(reverse("markets:recorder")).text
    assert "and the trades of markets in KXA, Climate are kept" in page
