"""Status words that nobody knew: their markets are asked for, recorded and found."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from django.db import connection

from markets.coverage.freshness import observed_at
from markets.models import HotPeriod, Market, Sweep, Tier
from markets.recording.batch import Batch, store
from markets.tests.factories import a_market
from markets.tests.fake_exchange import Exchange
from markets.tests.test_recorder import tick

pytestmark = pytest.mark.django_db(transaction=True)

API = "/api/v1"


@pytest.fixture
def suspended(exchange: Exchange) -> Exchange:
    """An exchange with one market in a status nobody knew, recorded in it, and one that is open."""
    exchange.list("KXA-1-X", status="suspended")
    exchange.list("KXA-1-Y")
    tick(exchange)
    return exchange


def settle(exchange: Exchange, ticker: str) -> None:
    """Settle a market, which leaves the listings with it."""
    exchange.historical[ticker] = exchange.markets.pop(ticker) | {
        "status": "finalized",
        "result": "yes",
        "settlement_value_dollars": "1.0000",
        "settlement_ts": "2026-11-20T10:00:00Z",
    }


class TestTheRecorder:
    def test_it_goes_on_asking_until_the_result_is_known(self, suspended):
        Market.objects.update(is_hot=False)
        settle(suspended, "KXA-1-X")
        tick(suspended)
        market = Market.objects.get(ticker="KXA-1-X")
        assert (market.status, market.result) == ("finalized", "yes")

    def test_it_goes_on_asking_after_the_close(self, suspended):
        now = datetime.now(UTC)
        Market.objects.filter(ticker="KXA-1-X").update(close_time=now - timedelta(minutes=1))
        due = Market.objects.awaiting_settlement(at=now)
        assert [market.ticker for market in due] == ["KXA-1-X"]

    def test_it_gives_up_a_week_after_a_settlement_on_record(self, suspended):
        now = datetime.now(UTC)
        markets = Market.objects.filter(ticker="KXA-1-X")
        for days, requested in ((6, True), (8, False)):
            markets.update(
                close_time=now - timedelta(days=9),
                result="yes",
                settlement_ts=now - timedelta(days=days),
            )
            assert Market.objects.awaiting_settlement(at=now).exists() is requested

    def test_it_keeps_such_a_market_hot_with_its_order_book(self, suspended):
        assert sorted(Market.objects.hot_tickers()) == ["KXA-1-X", "KXA-1-Y"]
        assert Market.objects.with_books(9).count() == 2
        assert HotPeriod.objects.filter(ended_at=None).count() == 2

    def test_it_writes_heartbeats(self, suspended, settings):
        settings.HOT_HEARTBEAT = settings.HEARTBEAT = 0
        assert tick(suspended).snapshots == 2

    def test_it_notices_that_such_a_market_is_gone(self, suspended):
        del suspended.markets["KXA-1-X"]
        tick(suspended)
        assert Market.objects.get(ticker="KXA-1-X").status == "unlisted"

    @pytest.mark.parametrize("status", ["closed", "determined", "disputed", "amended"])
    def test_it_asks_for_what_has_ended_before_its_scheduled_close(self, exchange, status):
        exchange.list("KXA-1-X")
        tick(exchange)
        Market.objects.update(status=status, is_hot=False)
        settle(exchange, "KXA-1-X")
        tick(exchange)
        assert Market.objects.get().result == "yes"

    def test_what_is_final_is_not_asked_for_again(self, exchange):
        exchange.list("KXA-1-X", "KXA-1-Y")
        tick(exchange)
        settle(exchange, "KXA-1-X")
        tick(exchange)
        exchange.requests.clear()
        Market.objects.filter(ticker="KXA-1-X").update(close_time="2026-11-20T09:00Z")
        tick(exchange)
        assert not any("KXA-1-X" in str(request.url) for request in exchange.requests)


@pytest.mark.parametrize(
    "read",
    [
        lambda: Market.objects.open().after(0),
        lambda: Market.objects.awaiting_settlement(at=datetime.now(UTC)).after(0),
    ],
)
def test_what_is_asked_for_is_found_by_an_index_without_the_final_markets(read):
    market = a_market("A")
    values = {f.attname: getattr(market, f.attname) for f in Market._meta.concrete_fields}
    Market.objects.bulk_create(
        Market(**values | {"id": None, "ticker": f"A-{n}", "status": "finalized"})
        for n in range(3000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE markets_market")
    assert "market_not_final" in read().explain()


class TestFilters:
    @pytest.fixture(autouse=True)
    def markets(self):
        """Recorded as the recorder does it, which notes the word that it does not know."""
        for ticker, status in {"A": "suspended", "B": "active", "C": "finalized"}.items():
            market = a_market(ticker, status=status)
            market.revisions.create(
                known_at=market.recorded_at,
                recorded_at=market.recorded_at,
                status=status,
                open_time=market.open_time,
                close_time=market.close_time,
                price_ranges=[],
            )
        batch = Batch()
        batch.check_drift("market", [msgspec.Raw(b'{"status": "suspended"}')])
        store(batch)

    @pytest.mark.parametrize(
        ("word", "tickers"),
        [
            ("unknown", ["A"]),
            ("suspended", ["A"]),
            ("open", ["B"]),
            ("settled", ["C"]),
            ("all", ["A", "B", "C"]),
        ],
    )
    @pytest.mark.parametrize("noun", ["markets", "events"])
    def test_they_find_it(self, client, noun, word, tickers):
        rows = client.get(f"{API}/{noun}/", {"status": word}).json()["results"]
        assert [row["ticker"] for row in rows] == tickers

    @pytest.mark.parametrize("word", ["unknown", "suspended"])
    def test_they_find_it_in_the_past(self, client, word):
        at = datetime.now(UTC).isoformat()
        rows = client.get(f"{API}/markets/", {"status": word, "as_of": at}).json()["results"]
        assert [(row["ticker"], row["status"]) for row in rows] == [("A", "suspended")]

    def test_a_word_that_the_exchange_never_sent_is_refused(self, client):
        assert client.get(f"{API}/markets/", {"status": "opne"}).status_code == 400

    def test_the_admin_offers_it(self, admin_client):
        page = admin_client.get("/admin/markets/market/", {"status": "suspended"})
        assert [market.ticker for market in page.context["cl"].result_list] == ["A"]
        assert 'href="?status=suspended"' in page.content.decode()

    def test_the_page_has_a_tab_for_it(self, client):
        html = client.get("/markets/?status=unknown").content.decode()
        assert "Markets of unknown status" in html
        assert "/markets/A/" in html
        assert "/markets/B/" not in html


def test_a_hot_sweep_proves_that_such_a_market_was_observed_and_the_universe_does_not(suspended):
    market = Market.objects.get(ticker="KXA-1-X")
    now = datetime.now(UTC)
    sweeps = {tier: Sweep(tier=tier, started_at=now) for tier in Tier.values}
    listed = {str(Tier.UNIVERSE): sweeps[Tier.UNIVERSE]}
    assert observed_at(market, listed, now=now) == market.quoted_at
    assert observed_at(market, sweeps, now=now) == sweeps[Tier.HOT].started_at
