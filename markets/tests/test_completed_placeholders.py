"""Placeholders of imports that the exchange describes at last."""

from datetime import UTC, datetime

import pytest

from markets.models import (
    Event,
    ListedMarket,
    Market,
    MarketRevision,
    MarketSnapshot,
    Series,
    Source,
)
from markets.models.imports import Kind
from markets.tests.factories import a_market
from markets.tests.fake_exchange import market_json
from markets.tests.import_builders import imported, quote
from markets.tests.test_backfill_edges import TICKER, PastExchange, fill
from markets.tests.test_recorder import tick

pytestmark = pytest.mark.django_db(transaction=True)
SETTLED = "2026-11-20T15:05:00Z"


def assert_described():
    market = Market.objects.get()
    assert not market.is_placeholder
    assert not market.event.is_placeholder
    assert not market.event.series.is_placeholder
    assert market.title == f"Will {TICKER} happen?"
    assert ListedMarket.objects.get().status == market.status
    assert Market.objects.search([TICKER]).get() == market
    assert Event.objects.search([market.event.ticker]).exists()
    assert MarketSnapshot.objects.filter(source=Source.IMPORT, market=market).count() == 1


def test_a_backfill_completes_a_placeholder_and_its_mark_goes():
    imported(Kind.QUOTES, [(TICKER, 0, quote(42, 45))])
    result = {"status": "finalized", "result": "yes", "settlement_ts": SETTLED,
              "close_time": "2026-11-20T15:00:00Z"}  # fmt: skip
    at = (datetime.fromisoformat(SETTLED) - datetime(2026, 11, 20, 12, tzinfo=UTC)).total_seconds()
    imported(Kind.SETTLEMENTS, [(TICKER, at, {"result": "yes"})])

    fill(PastExchange(live={TICKER: market_json(TICKER, **result)}, live_candles=[]))

    assert_described()
    revisions = MarketRevision.objects.for_market(Market.objects.get())
    assert {each.status for each in revisions} == {"active", "finalized"}


def test_the_recorder_completes_a_placeholder_that_it_meets(exchange):
    imported(Kind.QUOTES, [(TICKER, 0, quote(10, 11))])
    exchange.list(TICKER)

    tick(exchange)

    assert_described()
    assert str(Market.objects.get().yes_bid) == "0.4200"


def test_placeholders_stand_in_no_list_of_the_api(client):
    imported(Kind.QUOTES, [(TICKER, 0, quote(42, 45))])
    a_market("KXRAIN-26NOV21")

    for name in ("markets", "events", "series"):
        assert len(client.get(f"/api/v1/{name}/").json()["results"]) == 1, name
    assert client.get(f"/api/v1/markets/{TICKER}/").json()["is_placeholder"] is True
    assert Series.objects.count() == 2
