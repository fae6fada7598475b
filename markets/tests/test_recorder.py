from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.backends.postgresql.base import DatabaseWrapper

from kalshi_insights.token_bucket import TokenBucket
from markets.coverage import freshness
from markets.models import (
    Drift,
    Event,
    Market,
    MarketSnapshot,
    Poll,
    Series,
    Sweep,
    Tier,
)
from markets.recording import tiers
from markets.recording.lock import recorder_lock
from markets.recording.recorder import record_tick
from markets.recording.reference import refresh_series
from markets.recording.tiers import hot_list_size
from markets.tests.factories import a_market
from markets.tests.fake_exchange import URL, Exchange, market_json

pytestmark = pytest.mark.django_db(transaction=True)

# Long enough that no tier's turn ends early on a machine that is busy with other tests.
INTERVAL = 20.0


def tick(
    exchange: Exchange, *, keep_sweeps: bool = False, bucket: TokenBucket | None = None
) -> Poll:
    """Run one tick with its slot free and every tier due, or with unfinished sweeps going on."""
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    Poll.objects.update(started_at=an_hour_ago)
    sweeps = Sweep.objects.exclude(finished_at=None) if keep_sweeps else Sweep.objects.all()
    sweeps.update(started_at=an_hour_ago)
    with exchange.client(bucket=bucket) as client:
        poll = record_tick(client, interval=INTERVAL)
    assert poll is not None
    return poll


def test_it_records_every_open_market_with_its_event_and_series(exchange):
    exchange.list("KXA-1-X", "KXA-1-Y", "KXB-1-X", "KXC-1-T3.00")
    poll = tick(exchange)
    assert (poll.error, poll.markets, poll.snapshots, poll.rejected) == ("", 4, 4, 0)
    market = Market.objects.get(ticker="KXC-1-T3.00")
    assert (market.event.ticker, market.event.series.ticker) == ("KXC-1", "KXC")
    assert (market.yes_bid, market.yes_ask) == (Decimal("0.42"), Decimal("0.45"))
    assert market.quoted_at == market.snapshots.get().timestamp


def test_nothing_is_written_if_nothing_changed(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    assert tick(exchange).snapshots == 0
    assert MarketSnapshot.objects.count() == 1


@pytest.mark.parametrize(
    "change",
    [
        {"yes_bid_dollars": "0.4300"},
        {"yes_ask_size_fp": "12.51"},
        {"last_price_dollars": "0.4500"},
        {"volume_fp": "1000.01"},
        {"open_interest_fp": "701.00"},
    ],
)
def test_any_change_of_the_quote_writes_a_snapshot(exchange, change):
    exchange.list("KXA-1-X")
    tick(exchange)
    exchange.markets["KXA-1-X"] |= change
    assert tick(exchange).snapshots == 1


def test_a_snapshot_keeps_the_fields_that_no_column_holds(exchange):
    exchange.list("KXA-1-X", tick_size=1, new_words={"deep": ["a", None]})
    exchange.list("KXA-1-Y")
    assert tick(exchange).snapshots == 2
    unknown, usual = MarketSnapshot.objects.order_by("market__ticker")
    assert unknown.raw_data == {"tick_size": 1, "new_words": {"deep": ["a", None]}}
    assert usual.raw_data is None


def test_an_unchanged_market_is_written_again_as_a_heartbeat(exchange, settings):
    exchange.list("KXA-1-X")
    tick(exchange)
    settings.HOT_HEARTBEAT = settings.HEARTBEAT = 0
    assert tick(exchange).snapshots == 1


def test_a_missing_side_is_null_and_never_a_price(exchange):
    exchange.list(
        "KXA-1-X",
        yes_bid_dollars="0.0000",
        yes_bid_size_fp="0.00",
        yes_ask_dollars="1.0000",
        yes_ask_size_fp="0.00",
        last_price_dollars="0.0000",
    )
    tick(exchange)
    snapshot = MarketSnapshot.objects.get()
    assert (snapshot.yes_bid, snapshot.yes_ask, snapshot.last_price) == (None, None, None)
    assert snapshot.yes_price is None
    assert snapshot.spread is None


def test_a_crossed_and_an_off_grid_book_are_flagged_and_kept(exchange):
    exchange.list("KXA-1-X", yes_bid_dollars="0.4650", yes_ask_dollars="0.4500")
    tick(exchange)
    assert {flag.name for flag in MarketSnapshot.objects.get().flags} == {"CROSSED", "OFF_GRID"}


def test_an_unreadable_market_is_counted_and_kept_and_does_not_affect_the_others(exchange):
    exchange.list("KXA-1-X", "KXA-1-Y")
    exchange.markets["KXA-1-X"]["yes_bid_dollars"] = "NaN"
    poll = tick(exchange)
    assert (poll.rejected, poll.snapshots, poll.error) == (1, 1, "")
    assert poll.rejects[0]["ticker"] == "KXA-1-X"
    assert "yes_bid" in poll.rejects[0]["reason"]
    assert "KXA-1-X" in Sweep.objects.newest_complete(Tier.UNIVERSE).skipped


def test_a_payload_with_a_nul_is_rejected_and_does_not_affect_the_others(exchange):
    exchange.list("KXA-1-X", "KXA-1-Y")
    exchange.markets["KXA-1-X"]["some_new_field"] = "a\0b"
    exchange.markets["KXA-1-Y"]["title"] = "a\0b"
    exchange.list("KXA-1-Z")
    poll = tick(exchange)
    assert (poll.rejected, poll.snapshots, poll.error) == (2, 1, "")


def test_a_text_too_long_for_its_column_is_rejected_and_does_not_affect_the_others(exchange):
    exchange.list("KXA-1-X", status="x" * 1000)
    exchange.list("KXA-1-Y")
    poll = tick(exchange)
    assert (poll.rejected, poll.snapshots, poll.error) == (1, 1, "")


def test_a_changed_definition_is_written_with_its_payload(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    exchange.markets["KXA-1-X"] |= {
        "status": "determined",
        "result": "yes",
        "settlement_value_dollars": "1.0000",
        "rules_primary": "Amended.",
    }
    tick(exchange)
    market = Market.objects.get()
    assert (market.status, market.result, market.settlement_value) == ("determined", "yes", 1)
    assert market.raw_data["rules_primary"] == market.rules_primary == "Amended."


ZERO = "0001-01-01T00:00:00Z"


def test_a_changed_title_is_noticed_although_the_exchange_does_not_say_when(exchange):
    exchange.list("KXA-1-X", updated_time=ZERO)
    tick(exchange)
    assert Market.objects.get().updated_time is None
    exchange.markets["KXA-1-X"]["title"] = "Will it really?"
    tick(exchange)
    assert Market.objects.get().title == "Will it really?"
    assert Market.objects.get().revisions.count() == 2
    exchange.markets["KXA-1-X"]["yes_bid_dollars"] = "0.4300"
    assert tick(exchange).snapshots == 1
    assert Market.objects.get().revisions.count() == 2


def test_unknown_instants_cost_nothing_else_and_are_told(exchange):
    times = ("open_time", "close_time", "created_time", "updated_time", "latest_expiration_time")
    exchange.list("KXA-1-X", **dict.fromkeys(times, ZERO), settlement_ts=ZERO)
    assert tick(exchange).snapshots == 1
    market = Market.objects.get()
    assert [getattr(market, name) for name in (*times, "settlement_ts")] == [None] * 6
    statuses = Drift.objects.filter(kind="shape").values_list("where", flat=True)
    assert {where.split(":")[0] for where in statuses} == {f"market.$.{name}" for name in times}


def test_a_market_without_a_known_close_is_followed_to_its_settlement(exchange):
    exchange.list("KXA-1-X", close_time=ZERO)
    tick(exchange)
    settled = {"status": "finalized", "result": "yes", "close_time": ZERO, "settlement_ts": ZERO}
    exchange.historical["KXA-1-X"] = exchange.markets.pop("KXA-1-X") | settled
    tick(exchange)
    assert Market.objects.get().result == "yes"


@pytest.mark.parametrize("ticker", ["KXA/1-X", "KXA-1?X", "KXA-1 X", "KXA-1%2FX"])
def test_a_ticker_that_no_address_can_carry_is_refused_and_does_not_affect_the_others(
    exchange, ticker
):
    exchange.list("KXA-1-Y")
    exchange.list(ticker, event_ticker="KXA-1")
    poll = tick(exchange)
    assert (poll.rejected, poll.snapshots, poll.rejects[0]["ticker"]) == (1, 1, ticker)
    assert list(Market.objects.values_list("ticker", flat=True)) == ["KXA-1-Y"]
    assert Drift.objects.get().where.startswith("market.$.ticker: ")


def test_strikes_that_differ_in_the_ninth_decimal_stay_apart(exchange):
    strikes = {"KXSHIB-1-T0.000000499": 0.000000499, "KXSHIB-1-T0.0000004995": 0.0000004995}
    for ticker, strike in strikes.items():
        exchange.list(ticker, strike_type="greater", floor_strike=strike)
    tick(exchange)
    recorded = dict(Market.objects.values_list("ticker", "floor_strike"))
    assert recorded == {ticker: Decimal(str(strike)) for ticker, strike in strikes.items()}


def test_a_blank_size_costs_the_size_alone(exchange):
    exchange.list("KXA-1-X", yes_bid_size_fp="", volume_fp="", open_interest_fp=None)
    poll = tick(exchange)
    assert (poll.rejected, poll.snapshots) == (0, 1)
    observed = MarketSnapshot.objects.get()
    assert (observed.yes_bid, observed.yes_bid_size) == (Decimal("0.42"), None)
    assert (observed.volume, observed.open_interest, observed.yes_ask_size) == (
        None,
        None,
        Decimal("12.5"),
    )


@pytest.mark.parametrize("markets", [{"markets": None}, {}])
def test_an_event_without_a_list_of_markets_costs_nothing_else(exchange, markets):
    exchange.list("KXA-1-X", "KXB-1-X")
    whole = exchange.event_json

    def event_json(ticker):
        event = {key: value for key, value in whole(ticker).items() if key != "markets"}
        return event | markets if ticker == "KXA-1" else whole(ticker)

    exchange.event_json = event_json
    poll = tick(exchange)
    assert (poll.rejected, poll.error) == (0, "")
    assert list(Market.objects.values_list("ticker", flat=True)) == ["KXB-1-X"]


def test_a_hot_market_is_observed_while_no_universe_sweep_is_due(exchange, settings):
    settings.ORDER_BOOK_MARKETS, settings.RECORD_TRADES = 0, "none"
    exchange.list("KXA-1-X", "KXA-1-Y")
    tick(exchange)
    assert Market.objects.filter(is_hot=True).count() == 2
    Sweep.objects.filter(tier=Tier.UNIVERSE).update(started_at=datetime.now(UTC))
    Poll.objects.all().delete()
    exchange.quote("KXA-1-X", "0.4300", "0.4500")
    exchange.requests.clear()
    with exchange.client() as client:
        assert record_tick(client, interval=INTERVAL).snapshots == 1
    assert {request.url.path for request in exchange.requests} == {"/trade-api/v2/markets"}


def test_each_complete_sweep_stores_the_time_since_the_one_before(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)  # This backdates the sweeps before it by an hour.
    first = Sweep.objects.get(tier=Tier.UNIVERSE)
    assert first.since_last is None
    tick(exchange)
    since = Sweep.objects.newest(Tier.UNIVERSE).since_last
    assert since is not None
    assert timedelta(hours=1) <= since < timedelta(hours=1, minutes=1)


def test_the_hot_list_is_the_most_traded_and_the_watched_markets(exchange, settings):
    settings.HOT_MARKETS = 1
    exchange.list("KXA-1-X")
    exchange.list("KXA-1-Y", volume_24h_fp="9000.00")
    exchange.list("KXA-1-Z")
    tick(exchange)
    user = User.objects.create_user("ada")
    Market.objects.get(ticker="KXA-1-Z").watches.create(user=user)
    assert sorted(Market.objects.hot_tickers()) == ["KXA-1-Y", "KXA-1-Z"]


@pytest.mark.parametrize(("far", "near"), [("400.00", "50.00"), ("0.00", "0.00")])
def test_a_market_near_its_close_counts_tenfold_for_the_hot_list(exchange, settings, far, near):
    settings.HOT_MARKETS = 1
    soon = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    exchange.list("KXA-1-X", volume_24h_fp=far)
    exchange.list("KXA-1-Y", close_time=soon, volume_24h_fp=near)
    tick(exchange)
    assert Market.objects.hot_tickers() == ["KXA-1-Y"]


@pytest.mark.parametrize(
    ("rate", "interval", "wished", "size"),
    [
        (60, 5, 500, 500),
        (60, 5, 10_000, 3_000),
        (180, 5, 10_000, 9_000),
        (60, 1, 10_000, 600),
        (10, 0.2, 10_000, 200),
        (60, 5, 0, 0),
    ],
)
def test_the_hot_list_uses_at_most_half_of_the_tokens(settings, rate, interval, wished, size):
    settings.KALSHI_RATE, settings.POLL_INTERVAL, settings.HOT_MARKETS = rate, interval, wished
    assert hot_list_size() == size


def test_a_large_universe_is_fetched_over_several_ticks(exchange):
    exchange.list(*(f"KXA-{n}-X" for n in range(5)))
    for observed in (2, 4, 5):
        exchange.pages_left, exchange.status_afterwards = 1, 429
        Poll.objects.all().delete()
        with exchange.client() as client:
            record_tick(client, interval=INTERVAL)
        assert Market.objects.count() == observed
    assert Sweep.objects.filter(tier=Tier.UNIVERSE).count() == 1
    assert Sweep.objects.newest_complete(Tier.UNIVERSE).markets == 5


def test_a_market_past_its_close_is_fetched_by_ticker_until_it_is_settled(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    Market.objects.update(close_time=datetime.now(UTC) - timedelta(minutes=1))
    settled = exchange.markets.pop("KXA-1-X") | {
        "status": "finalized",
        "result": "no",
        "settlement_value_dollars": "0.0000",
        "settlement_ts": "2026-11-20T10:00:00Z",
    }
    exchange.historical["KXA-1-X"] = settled
    tick(exchange)
    market = Market.objects.get()
    assert (market.status, market.result, market.settlement_value) == ("finalized", "no", 0)


def test_a_market_that_closes_early_is_found_among_the_updates(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    closed = exchange.markets.pop("KXA-1-X") | {
        "status": "closed",
        "close_time": "2026-11-20T09:00:00Z",
        "updated_time": "2026-11-20T09:00:00Z",
    }
    exchange.updates.append(closed)
    tick(exchange)
    assert Market.objects.get().status == "closed"


def test_a_market_that_silently_leaves_the_listing_is_fetched_by_ticker(exchange):
    exchange.list("KXA-1-X", "KXA-2-X")
    tick(exchange)
    exchange.historical["KXA-1-X"] = exchange.markets.pop("KXA-1-X") | {"status": "finalized"}
    Market.objects.update(is_hot=False)
    tick(exchange)
    assert Market.objects.get(ticker="KXA-1-X").status == "finalized"


def test_a_market_that_opened_and_ended_between_two_sweeps_is_recorded_with_its_event(exchange):
    tick(exchange)
    over = {"status": "finalized", "result": "yes", "settlement_value_dollars": "1.0000"}
    exchange.updates.append(market_json("KXA-1-X", **over))
    tick(exchange)
    market = Market.objects.get()
    assert (market.ticker, market.result, market.event.title) == (
        "KXA-1-X",
        "yes",
        "What of KXA-1?",
    )


class TestUnlisted:
    """A market that was open and that the exchange does not know any more."""

    def test_it_is_no_longer_shown_as_open(self, exchange):
        exchange.list("KXA-1-X", "KXA-1-Y")
        tick(exchange)
        observed = Market.objects.get(ticker="KXA-1-X").quoted_at
        del exchange.markets["KXA-1-X"]
        tick(exchange)
        market = Market.objects.get(ticker="KXA-1-X")
        assert market.status == "unlisted"
        now = datetime.now(UTC)
        sweeps = Sweep.objects.newest_complete_of("universe", at=now)
        assert freshness.observed_at(market, sweeps, now=now) == observed
        assert [m.ticker for m in Market.objects.open()] == ["KXA-1-Y"]

    def test_the_earlier_revisions_are_kept(self, exchange):
        exchange.list("KXA-1-X", "KXA-1-Y")
        tick(exchange)
        before = datetime.now(UTC)
        del exchange.markets["KXA-1-X"]
        tick(exchange)
        market = Market.objects.filter(ticker="KXA-1-X")
        assert [market.as_of(at)[0].status for at in (before, datetime.now(UTC))] == [
            "active",
            "unlisted",
        ]

    def test_it_is_not_requested_again_until_it_is_listed_again(self, exchange):
        exchange.list("KXA-1-X", "KXA-1-Y")
        tick(exchange)
        gone = exchange.markets.pop("KXA-1-X")
        tick(exchange)
        exchange.requests.clear()
        tick(exchange)
        assert not any("KXA-1-X" in str(request.url) for request in exchange.requests)
        exchange.markets["KXA-1-X"] = gone
        tick(exchange)
        assert Market.objects.get(ticker="KXA-1-X").status == "active"

    def test_it_is_requested_for_a_week_after_its_close(self, exchange):
        exchange.list("KXA-1-X", "KXA-1-Y")
        tick(exchange)
        now = datetime.now(UTC)
        Market.objects.filter(ticker="KXA-1-X").update(
            status="unlisted", close_time=now - timedelta(days=6)
        )
        Market.objects.filter(ticker="KXA-1-Y").update(
            status="unlisted", close_time=now - timedelta(days=8)
        )
        due = Market.objects.awaiting_settlement(at=now)
        assert [market.ticker for market in due] == ["KXA-1-X"]

    @pytest.mark.parametrize("status", ["closed", "determined", "initialized"])
    def test_it_is_given_up_a_week_after_its_close_although_it_was_never_settled(
        self, exchange, status
    ):
        exchange.list("KXA-1-X", "KXA-1-Y")
        tick(exchange)
        del exchange.markets["KXA-1-X"]
        market, now = Market.objects.filter(ticker="KXA-1-X"), datetime.now(UTC)
        for days, known in ((6, status), (8, "unlisted")):
            market.update(status=status, close_time=now - timedelta(days=days), is_hot=False)
            tick(exchange)
            assert market.get().status == known
        exchange.requests.clear()
        tick(exchange)
        assert not any("KXA-1-X" in str(request.url) for request in exchange.requests)

    @pytest.mark.parametrize("status", ["active", "closed"])
    def test_a_ticker_that_is_refused_now_is_not_asked_for(self, exchange, status):
        exchange.list("KXA-1-X")
        tick(exchange)
        exchange.list("KXA/B-1")
        an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
        a_market("KXA/B-1", status=status, close_time=an_hour_ago)
        tick(exchange)
        exchange.requests.clear()
        assert tick(exchange).error == ""
        assert not any("KXA%2FB" in str(request.url) for request in exchange.requests)
        market = Market.objects.filter(ticker="KXA/B-1")
        market.update(close_time=an_hour_ago - timedelta(days=7))
        tick(exchange)
        assert market.get().status == "unlisted"
        assert not Market.objects.awaiting_settlement(at=datetime.now(UTC)).exists()

    def test_an_unreadable_market_is_not_unlisted(self, exchange):
        exchange.list("KXA-1-X", "KXA-1-Y")
        tick(exchange)
        exchange.markets["KXA-1-X"]["yes_bid_dollars"] = "nonsense"
        tick(exchange)
        assert Market.objects.get(ticker="KXA-1-X").status == "active"
        del exchange.markets["KXA-1-X"]["ticker"]
        tick(exchange)
        assert Market.objects.get(ticker="KXA-1-X").status == "active"

    def test_a_reply_that_lacks_most_markets_is_treated_as_truncated(self, exchange):
        exchange.list(*(f"KXA-1-{n}" for n in range(20)))
        tick(exchange)
        exchange.failing["/markets"] = httpx.Response(200, text='{"markets": [], "cursor": ""}')
        tick(exchange)
        assert Market.objects.open().count() == 20


def test_a_market_that_never_opened_awaits_settlement_too(exchange):
    exchange.list("KXA-1-X", status="initialized")
    tick(exchange)
    due = Market.objects.awaiting_settlement(at=datetime(2031, 1, 1, tzinfo=UTC))
    assert due.exists()


def test_a_census_continues_over_several_ticks_to_its_end(exchange, monkeypatch):
    monkeypatch.setattr(tiers, "TICKERS_PER_REQUEST", 1)
    exchange.list("KXA-1-X", "KXA-1-Y", "KXA-1-Z")
    tick(exchange)
    tick(exchange)  # This backdates the sweeps before it by an hour.
    tick(exchange)
    tick(exchange)
    tick(exchange)
    census = Sweep.objects.filter(tier=Tier.CENSUS).order_by("id").last()
    assert (census.complete, census.markets) == (True, 3)


def test_invalid_utf8_in_an_unparsed_text_does_not_lose_the_quote(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    listing = exchange.answer(httpx.Request("GET", f"{URL}/events")).content
    broken = listing.replace(b"Will KXA-1-X", b"Will \xff").replace(b"0.4200", b"0.4100")
    exchange.failing["/events"] = httpx.Response(200, content=broken)
    Market.objects.update(is_hot=False)
    poll = tick(exchange)
    assert (poll.error, poll.snapshots) == ("", 1)
    payload = MarketSnapshot.objects.newest().raw_payload
    assert payload is not None
    assert b"Will \xff" in payload


@pytest.mark.parametrize("novelty", [b"1e999", b"9" * 5_000, b'"\xff"', b"[" * 900 + b"]" * 900])
@pytest.mark.parametrize("updated_time", ["2026-11-01T12:00:00Z", "0001-01-01T00:00:00Z"])
def test_an_unknown_field_that_no_json_holds_costs_nothing(exchange, novelty, updated_time):
    exchange.list("KXA-1-X", "KXA-1-Y", updated_time=updated_time)
    tick(exchange)
    exchange.quote("KXA-1-Y", "0.4300", "0.4500")
    exchange.quote("KXA-1-X", "0.4300", "0.4500", novelty="@")
    listing = exchange.answer(httpx.Request("GET", f"{URL}/events")).content
    exchange.failing["/events"] = httpx.Response(200, content=listing.replace(b'"@"', novelty))
    Market.objects.update(is_hot=False)
    poll = tick(exchange)
    assert (poll.error, poll.snapshots) == ("", 2)
    strange = MarketSnapshot.objects.exclude(raw_data=None).get()
    assert strange.market.ticker == "KXA-1-X"
    assert "novelty" in (strange.raw_data or {})


def test_a_cursor_that_cannot_be_stored_fails_its_tier_alone(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    exchange.failing["/events"] = httpx.Response(200, json={"events": [], "cursor": "a\0b"})
    exchange.quote("KXA-1-X", "0.4300", "0.4500")
    poll = tick(exchange)
    assert poll.snapshots == 1
    assert "universe: text contains a NUL" in poll.error


def test_a_nul_is_removed_from_the_message_of_a_failure(exchange):
    exchange.failing["/events"] = httpx.Response(400, text='{"code":"bad","message":"a\\u0000b"}')
    assert "bad: ab" in tick(exchange).error


def test_an_error_in_one_tier_is_recorded_and_does_not_affect_the_others(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    exchange.failing["/events"] = httpx.Response(400, text='{"code":"bad","message":"no"}')
    exchange.quote("KXA-1-X", "0.4300", "0.4500")
    poll = tick(exchange)
    assert poll.error.startswith("universe: ")
    assert "bad" in poll.error
    assert poll.snapshots == 1
    assert poll.finished_at is not None


def test_a_failure_that_loses_no_quotes_is_a_warning(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    Market.objects.update(close_time=datetime.now(UTC) - timedelta(minutes=1))
    exchange.markets.clear()
    exchange.failing["/historical/markets"] = httpx.Response(400, text="{}")
    poll = tick(exchange)
    assert poll.error == ""
    assert poll.warning.startswith("settlement: ")


def test_a_sweep_whose_cursor_is_refused_begins_again(exchange):
    exchange.list(*(f"KXA-{n}-X" for n in range(5)))
    exchange.pages_left = 1
    assert "universe: " in tick(exchange).error
    exchange.pages_left = None
    assert tick(exchange).error == ""
    assert Sweep.objects.newest_complete(Tier.UNIVERSE).markets == 5


def test_a_change_of_an_event_s_settlement_sources_is_written(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    Event.objects.update(settlement_sources=[{"name": "An old source"}])
    tick(exchange)
    assert Event.objects.get().settlement_sources == []


def test_a_second_recorder_does_nothing(exchange):
    with recorder_lock(INTERVAL) as alone, exchange.client() as client:
        assert alone
        assert record_tick(client, interval=INTERVAL) is None
    assert Poll.objects.count() == 0


def test_the_lock_is_released_before_the_server_notices_the_closed_connection(monkeypatch):
    with ExitStack() as later, monkeypatch.context() as patched:
        patched.setattr(DatabaseWrapper, "close", lambda own: later.callback(own.connection.close))
        with recorder_lock(INTERVAL) as alone:
            assert alone
        with recorder_lock(INTERVAL) as alone:
            assert alone


def test_a_slot_is_claimed_once(exchange):
    with exchange.client() as client:
        assert record_tick(client, interval=INTERVAL) is not None
        assert record_tick(client, interval=INTERVAL) is None


def test_a_failure_while_writing_is_recorded_and_leaves_nothing_half_written(exchange, settings):
    exchange.list("KXA-1-X", "KXA-1-Y")
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE markets_market ADD CONSTRAINT refuse CHECK (ticker <> 'KXA-1-Y') NOT VALID"
        )
    try:
        poll = tick(exchange)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE markets_market DROP CONSTRAINT refuse")
    assert "IntegrityError" in poll.error
    assert (poll.snapshots, MarketSnapshot.objects.count(), Market.objects.count()) == (0, 0, 0)
    assert Poll.objects.get().finished_at is not None


def test_a_clock_that_has_stepped_back_stops_neither_quotes_nor_heartbeats(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    Market.objects.update(quoted_at=datetime.now(UTC) + timedelta(hours=1))
    exchange.quote("KXA-1-X", "0.1000", "0.9000")
    assert tick(exchange).snapshots == 1
    assert Market.objects.get().yes_bid == Decimal("0.1")
    assert tick(exchange).snapshots == 0


def test_polls_and_sweeps_in_the_future_do_not_block_a_run(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    future = datetime.now(UTC) + timedelta(hours=1)
    Poll.objects.update(started_at=future)
    Sweep.objects.update(started_at=future)
    with exchange.client() as client:
        poll = record_tick(client, interval=INTERVAL)
    assert poll is not None
    assert Sweep.objects.newest(Tier.UNIVERSE).complete
    assert Sweep.objects.newest(Tier.UNIVERSE).started_at < future


def test_series_are_fetched_once_an_hour(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    assert Series.objects.get().title == ""
    with exchange.client() as client:
        refresh_series(client)
        refresh_series(client)
    assert [request.url.path for request in exchange.requests].count("/trade-api/v2/series") == 1
    series = Series.objects.get()
    assert (series.title, series.fee_multiplier) == ("Series KXA", Decimal("0.5"))


def test_an_event_keeps_its_row_when_it_changes(exchange):
    exchange.list("KXA-1-X")
    tick(exchange)
    before = Event.objects.get()
    Event.objects.update(title="Old title")
    tick(exchange)
    after = Event.objects.get()
    assert (after.pk, after.title) == (before.pk, "What of KXA-1?")
