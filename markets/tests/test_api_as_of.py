"""Answers as of an instant: what was known then, and nothing that came later."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from model_bakery import baker

from markets.models import Event, EventRevision, Market, MarketRevision
from markets.recording.recorder import record_tick
from markets.tests.factories import a_market, a_snapshot, an_event
from markets.tests.fake_exchange import Exchange

pytestmark = pytest.mark.django_db

API = "/api/v1"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EVENT_THEN: dict[str, Any] = {
    "title": "Rain then",
    "sub_title": "",
    "collateral_return_type": "",
    "strike_period": "",
    "fee_type_override": "",
    "recorded_at": NOON,
}


def minute(number: float) -> str:
    return (NOON + number * MINUTE).isoformat()


def revise(market: Market, number: int, status: str, **values: Any) -> None:
    baker.make(
        MarketRevision,
        market=market,
        known_at=NOON + number * MINUTE,
        recorded_at=NOON,
        status=status,
        open_time=market.open_time,
        **{"close_time": market.close_time, "price_ranges": [], **values},
    )


@pytest.fixture
def market() -> Market:
    """Seen first at noon, determined at two past; quotes at noon, one and three past."""
    event = an_event("Rain now", ticker="RAIN")
    market = a_market("RAIN-1", event=event, status="determined", result="yes", is_hot=True)
    revise(market, 0, "active", close_time=None)
    revise(market, 2, "determined", result="yes", settlement_value=1)
    baker.make(EventRevision, event=event, known_at=NOON, **EVENT_THEN)
    for number in (0, 1, 3):
        bid = Decimal(number) / 10
        a_snapshot(market, NOON + number * MINUTE, yes_bid=bid, volume=number).save()
    return market


def at(client, number: float, path: str = "markets", **query: str):
    return client.get(f"{API}/{path}/", {"as_of": minute(number), **query})


def tickers(response) -> list[str]:
    assert response.status_code == 200, response.content
    return [row["ticker"] for row in response.json()["results"]]


def test_a_market_is_as_it_was_known(client, market):
    body = at(client, 1.5, "markets/RAIN-1").json()
    assert (body["status"], body["result"], body["settlement_value"]) == ("active", "", None)
    assert body["close_time"] is None
    assert (body["yes_bid"], body["quoted_at"]) == ("0.1000", "2026-11-20T12:01:00Z")
    assert (body["event_title"], body["event"]["title"]) == ("Rain then", "Rain then")
    assert body["known_at"] == "2026-11-20T12:00:00Z"
    later = at(client, 2, "markets/RAIN-1").json()
    assert (later["status"], later["result"], later["yes_bid"]) == ("determined", "yes", "0.1000")


def test_what_no_snapshot_holds_is_unknown(client, market):
    body = at(client, 1, "markets/RAIN-1").json()
    assert [body[name] for name in ("volume_24h", "previous_price", "is_hot")] == [None] * 3


def test_before_its_first_quote_a_market_had_none(client, market):
    market.snapshots.all().delete()
    body = at(client, 1, "markets/RAIN-1").json()
    assert (body["status"], body["yes_bid"], body["quoted_at"]) == ("active", None, None)


def test_what_was_not_known_yet_is_absent(client, market):
    assert tickers(at(client, -1)) == []
    response = at(client, -1, "markets/RAIN-1")
    assert response.status_code == 404
    assert "RAIN-1" in response.json()["message"]
    assert tickers(at(client, -1, "events")) == []
    assert at(client, -1, "events/RAIN").status_code == 404


def test_a_row_of_the_list_says_what_the_market_itself_says(client, market):
    [row] = at(client, 1).json()["results"]
    single = at(client, 1, "markets/RAIN-1").json()
    assert row == {field: single[field] for field in row}
    usual = client.get(f"{API}/markets/").json()["results"][0]
    assert set(row) - set(usual) == {
        "known_at",
        "known_at_assumed",
        "observed_at",
        "evidence_age_seconds",
        "being_observed",
    }


@pytest.mark.parametrize("path", ["markets", "events"])
def test_lists_are_narrowed_by_the_status_of_then(client, market, path):
    for number, status, found in ((1, "open", 1), (1, "closed", 0), (3, "open", 0)):
        assert len(tickers(at(client, number, path, status=status))) == found
    assert len(tickers(at(client, 3, path, status="determined"))) == 1
    assert len(tickers(at(client, 3, path, status="all"))) == 1


def test_lists_are_narrowed_by_name_and_ordered_by_ticker(client, market):
    other = a_market("VOTE-1", event=an_event("Vote", ticker="VOTE", category="Politics"))
    revise(other, 0, "active")
    assert tickers(at(client, 1, ordering="-ticker")) == ["VOTE-1", "RAIN-1"]
    for query in ({"q": "vote"}, {"event": "VOTE"}, {"series": "SVOTE"}, {"category": "Politics"}):
        assert tickers(at(client, 1, **query)) == ["VOTE-1"]
    assert at(client, 1, limit="1").json()["count"] == 2


def test_an_event_is_as_it_was_known(client, market):
    Event.objects.update(title="Rain now")
    [row] = at(client, 1, "events").json()["results"]
    assert (row["title"], row["series_ticker"]) == ("Rain then", "SRAIN")
    assert at(client, 1, "events/RAIN").json() == row


@pytest.mark.parametrize(
    ("path", "query", "name"),
    [
        ("markets", {"volume_min": "1"}, "volume_min"),
        ("markets", {"updated_since": minute(0)}, "updated_since"),
        ("markets", {"ordering": "volume_24h"}, "ordering"),
        ("events", {"ordering": "recorded_at"}, "ordering"),
        ("events", {"markets": "true"}, "markets"),
        ("events/RAIN", {"markets": "true"}, "markets"),
        ("series", {}, "as_of"),
        ("polls", {}, "as_of"),
    ],
)
def test_what_has_no_past_is_refused_by_name(client, market, path, query, name):
    response = at(client, 1, path, **query)
    assert response.status_code == 400
    assert list(response.json()["details"]) == [name]


@pytest.mark.parametrize("path", ["markets", "markets/RAIN-1", "events", "events/RAIN"])
@pytest.mark.parametrize("when", ["2999-01-01T00:00:00Z", "2026-11-20T12:00:00", "now", "NaN", "1"])
def test_an_instant_must_be_one_of_the_past(client, market, path, when):
    response = client.get(f"{API}/{path}/", {"as_of": when})
    assert response.status_code == 400
    assert list(response.json()["details"]) == ["as_of"]


@pytest.mark.parametrize(("path", "queries"), [("markets", 7), ("events", 3)])
def test_a_list_takes_a_handful_of_queries(
    client, market, path, queries, django_assert_num_queries
):
    revise(a_market("VOTE-1", event=an_event("Vote", ticker="VOTE")), 0, "active")
    with django_assert_num_queries(queries):
        at(client, 1, path)


@pytest.mark.django_db(transaction=True)
def test_a_definition_is_read_from_the_payload_of_then(client, exchange: Exchange):
    exchange.list("KXA-1-X", yes_sub_title="Over 2 inches", floor_strike=2)
    with exchange.client() as kalshi:
        record_tick(kalshi, interval=60)
    before = datetime.now(UTC)
    was = client.get(f"{API}/markets/KXA-1-X/").json()
    Market.objects.update(yes_sub_title="Over 3 inches", floor_strike=3, rules_primary="Changed.")
    body = client.get(f"{API}/markets/KXA-1-X/", {"as_of": before.isoformat()}).json()
    assert (body["yes_sub_title"], body["floor_strike"]) == ("Over 2 inches", "2")
    unlike = {name for name in was if was[name] != body[name]}
    assert unlike == {"volume_24h", "previous_price", "is_hot", "evidence_age_seconds"}
