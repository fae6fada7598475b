"""Each tier has its share of a run, and a listing that ignores its filter is not followed."""

import time

import httpx
import pytest

from markets.kalshi.errors import FilterIgnored
from markets.models import Drift, Market, OrderBookSnapshot, Poll, Sweep, Tier
from markets.recording.tick import SHARES, Tick
from markets.tests.fake_exchange import Exchange, market_json
from markets.tests.test_recorder import tick
from markets.tests.test_tiers import BOOK

pytestmark = pytest.mark.django_db(transaction=True)
ENDLESS = 10**6


def six_runs(exchange: Exchange) -> list[Poll]:
    return [tick(exchange, keep_sweeps=True) for _ in range(6)]


@pytest.fixture
def six(exchange: Exchange) -> Exchange:
    """Six open markets of six events, with their order books."""
    exchange.list(*(f"KX{letter}-1-X" for letter in "ABCDEF"))
    exchange.books |= dict.fromkeys(exchange.markets, BOOK)
    return exchange


class TestUpdates:
    def test_a_listing_that_ignores_its_filter_is_noticed_and_not_followed(self, six):
        six.ignored, six.long_listing = {"min_updated_ts"}, ENDLESS
        polls = six_runs(six)
        assert Market.objects.open().count() == 6
        assert OrderBookSnapshot.objects.count() == 6
        assert all("/markets ignores min_updated_ts" in poll.warning for poll in polls)
        assert [poll.error for poll in polls] == [""] * 6
        drift = Drift.objects.get(where="/markets ignores min_updated_ts")
        assert drift.count == 6
        requested = [r for r in six.requests if "min_updated_ts" in r.url.params]
        assert len(requested) == 6
        assert Sweep.objects.newest_complete(Tier.UPDATES) is None

    def test_a_long_honest_listing_leaves_time_for_the_others(self, six):
        six.long_listing = ENDLESS
        polls = six_runs(six)
        assert Market.objects.open().count() == 6
        assert OrderBookSnapshot.objects.count() == 6
        assert [poll.error for poll in polls] == [""] * 6
        updates = Sweep.objects.get(tier=Tier.UPDATES)
        assert (updates.complete, len(updates.pages) > 6) == (False, True)
        # A run's tokens pay for 30 requests, and 39 % of them are kept for the later tiers.
        requested = [r for r in six.requests if "min_updated_ts" in r.url.params]
        assert len(requested) <= 6 * 19

    def test_a_long_honest_listing_is_read_to_its_end(self, six):
        six.long_listing = 40
        six.updates.append(market_json("KXLAST-1-X"))
        six_runs(six)
        assert Market.objects.filter(ticker="KXLAST-1-X").exists()
        assert Sweep.objects.newest_complete(Tier.UPDATES).markets == 81


def test_many_settlements_leave_time_for_the_others(six, monkeypatch):
    monkeypatch.setattr("markets.recording.tiers.TICKERS_PER_REQUEST", 1)
    six.list(*(f"KXOLD-1-{n}" for n in range(250)), close_time="2026-11-20T10:00:00Z")
    tick(six)
    six.slow["/historical/markets"] = 0.02
    hidden = {t: six.markets.pop(t) for t in list(six.markets) if t.startswith("KXOLD")}
    six.historical |= {t: market | {"status": "closed"} for t, market in hidden.items()}
    Market.objects.update(is_hot=False)
    for ticker in six.markets:
        six.quote(ticker, "0.1000", "0.2000")
    six_runs(six)
    assert Market.objects.filter(yes_bid="0.1").count() == 6


def test_a_slow_hot_list_leaves_each_tier_its_own_share():
    client = Exchange().client()
    run = Tick(client, Poll(), deadline=time.monotonic() + 10)
    run.begin_turn(Tier.UNIVERSE, later=())
    assert run.turn_ends == pytest.approx(run.deadline, abs=0.1)
    late = Tick(client, Poll(), deadline=time.monotonic() + 10)
    late.deadline -= 20
    late.begin_turn(Tier.UNIVERSE, later=())
    assert late.turn_ends == pytest.approx(time.monotonic() + 2, abs=0.1)
    assert client.deadline == late.turn_ends


def test_the_shares_make_up_the_whole():
    assert sum(SHARES.values()) == pytest.approx(1)


class TestOtherFilters:
    def test_a_reply_by_ticker_may_take_several_pages(self, six):
        tick(six)
        six.ignored = {"tickers"}
        for ticker in six.markets:
            six.quote(ticker, "0.1000", "0.2000")
        six.failing["/events"] = httpx.Response(404)
        tick(six)
        assert Market.objects.open().filter(yes_bid="0.1").count() == 6

    def test_markets_that_were_not_asked_for_unlist_nobody(self, six):
        tick(six)
        six.ignored = {"tickers"}
        others = (market_json(f"KXOTHER-1-{n}", status="finalized") for n in range(9))
        six.markets = {market["ticker"]: market for market in others} | six.markets
        six.failing["/events"] = httpx.Response(404)
        polls = six_runs(six)
        assert all("hot: /markets ignores tickers" in poll.error for poll in polls)
        assert all("census: /markets ignores tickers" in poll.warning for poll in polls)
        assert Market.objects.open().count() == 6

    def test_a_universe_that_ignores_the_status_is_read_by_markets(self, six):
        for n in range(30):
            six.list(f"KXAA{n:02}-1-X", status="finalized")
        poll = tick(six)
        assert "/events ignores status" in poll.warning
        assert Drift.objects.filter(where="/events ignores status").exists()
        assert Sweep.objects.newest(Tier.UNIVERSE).by_market

    @pytest.mark.parametrize(
        ("filters", "name"),
        [
            ({"tickers": ["KXZ-1-X"]}, "tickers"),
            ({"event_ticker": "KXZ-1"}, "event_ticker"),
            ({"min_updated_ts": 2_000_000_000}, "min_updated_ts"),
            ({"status": "open", "mve_filter": "exclude"}, "mve_filter"),
            ({"status": "settled"}, "status"),
            ({"min_settled_ts": 2_000_000_000}, "min_settled_ts"),
            ({"max_settled_ts": 1_700_000_000}, "max_settled_ts"),
        ],
    )
    def test_they_are_held_to(self, exchange, filters, name):
        settled = {"settlement_ts": "2026-11-01T12:00:00Z"}
        listed = [market_json(f"KXMVE-1-{n}", **settled) for n in range(30)]
        exchange.failing["/markets"] = httpx.Response(200, json={"markets": listed})
        with exchange.client() as client, pytest.raises(FilterIgnored, match=name):
            client.markets(**filters)

    def test_trades_of_another_market_are_not_followed(self, exchange):
        trades = [{"ticker": "KXA-1-X", "created_time": "2026-11-20T10:00:00Z"}]
        page = {"trades": trades, "cursor": "more"}
        exchange.failing["/markets/trades"] = httpx.Response(200, json=page)
        with exchange.client() as client:
            for filters in ({"ticker": "KXB-1-X"}, {"min_ts": 2 * 10**9}, {"max_ts": 10**9}):
                with pytest.raises(FilterIgnored, match=next(iter(filters))):
                    client.trades(**filters)
            assert client.trades(ticker="KXA-1-X", min_ts=10**9).cursor == "more"

    def test_a_few_on_the_edge_are_no_sign(self, exchange):
        listed = [market_json(f"KXA-1-{n}", updated_time="2018-01-01T00:00:00Z") for n in range(9)]
        listed += [market_json(f"KXB-1-{n}", updated_time="0001-01-01T00:00:00Z") for n in range(9)]
        page = {"markets": listed, "cursor": "more"}
        exchange.failing["/markets"] = httpx.Response(200, json=page)
        with exchange.client() as client:
            assert client.markets(min_updated_ts=1_900_000_000).cursor == "more"


class TestAnExchangeThatIsSilent:
    def test_is_not_asked_on_and_on(self, six):
        tick(six)
        Market.objects.update(is_hot=True)
        six.timing_out = {"/markets", "/exchange/status", "/events"}
        six.requests.clear()
        poll = tick(six)
        assert poll.error.startswith("hot: no answer: exchange.test")
        assert "universe" not in poll.error + poll.warning
        assert {request.url.path.split("/v2")[1] for request in six.requests} == {
            "/markets",
            "/exchange/status",
        }

    def test_to_one_tier_alone_costs_only_that_tier(self, six):
        tick(six)
        Market.objects.update(is_hot=True)
        six.timing_out = {"/exchange/status"}
        poll = tick(six)
        assert (poll.error, poll.markets > 0) == ("", True)
        assert poll.warning.startswith("status: no answer")
        assert poll.observed_from
        assert poll.finished_at
        assert poll.started_at <= poll.observed_from <= poll.finished_at
