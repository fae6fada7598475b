from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User

from markets.models import Market, MarketSnapshot, Poll, Series
from markets.recording.recorder import record_tick
from markets.tests.fake_exchange import Exchange

pytestmark = pytest.mark.django_db

API = "/api/v1"


@pytest.fixture
def recorded(exchange: Exchange) -> Exchange:
    """Two events in two series on record; the weather one has a dot in a ticker."""
    exchange.list("KXHIGH-26NOV20-B52.5", "KXHIGH-26NOV20-T60")
    exchange.list("KXFED-26DEC-H0", status="closed")
    exchange.list("KXFED-26DEC-H25")
    with exchange.client() as client:
        record_tick(client, interval=60)
    return exchange


def tickers(response) -> list[str]:
    assert response.status_code == 200, response.content
    return [row["ticker"] for row in response.json()["results"]]


def test_markets_are_listed_by_ticker_with_a_total(client, recorded):
    response = client.get(f"{API}/markets/")
    assert tickers(response) == [
        "KXFED-26DEC-H0",
        "KXFED-26DEC-H25",
        "KXHIGH-26NOV20-B52.5",
        "KXHIGH-26NOV20-T60",
    ]
    assert response.json()["count"] == 4


def test_a_row_of_the_list_says_what_the_market_itself_says(client, recorded):
    for row in client.get(f"{API}/markets/").json()["results"]:
        market = client.get(f"{API}/markets/{row['ticker']}/").json()
        assert row == {field: market[field] for field in row}


def test_a_list_of_markets_costs_three_queries(client, recorded, django_assert_num_queries):
    with django_assert_num_queries(3):
        client.get(f"{API}/markets/")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=open", 3),
        ("status=closed", 1),
        ("series=KXFED", 2),
        ("event=KXHIGH-26NOV20", 2),
        ("series=KXFED&status=open", 1),
        ("q=fed", 2),
    ],
)
def test_markets_are_filtered(client, recorded, query, expected):
    assert len(tickers(client.get(f"{API}/markets/?{query}"))) == expected


def test_limit_and_skip_page_through_and_link(client, recorded):
    first = client.get(f"{API}/markets/?limit=3").json()
    assert first["previous"] is None
    second = client.get(first["next"]).json()
    assert [row["ticker"] for row in second["results"]] == ["KXHIGH-26NOV20-T60"]
    assert second["next"] is None
    assert client.get(second["previous"]).json() == first


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=1e3", "limit"),
        ("limit=٣", "limit"),
        ("skip=-1", "skip"),
        ("skip=x", "skip"),
        ("skip=" + "9" * 400, "skip"),
        ("status=nonsense", "status"),
    ],
)
def test_a_malformed_parameter_of_the_list_is_named(client, recorded, query, parameter):
    response = client.get(f"{API}/markets/?{query}")
    assert response.status_code == 400
    error = response.json()
    assert error["code"] == "invalid"
    assert list(error["details"]) == [parameter]
    assert parameter in error["message"]


def test_one_market_is_found_by_a_ticker_with_a_dot(client, recorded):
    market = client.get(f"{API}/markets/KXHIGH-26NOV20-B52.5/").json()
    assert market["ticker"] == "KXHIGH-26NOV20-B52.5"
    assert (market["yes_bid"], market["yes_ask_size"]) == ("0.4200", "12.50")
    assert market["event"]["ticker"] == market["event_ticker"] == "KXHIGH-26NOV20"
    assert market["price_ranges"] == [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}]


@pytest.mark.parametrize("path", ["", "latest/", "snapshots/"])
def test_an_unknown_ticker_is_a_404_that_names_it(client, path):
    response = client.get(f"{API}/markets/KXNONE-1.5/{path}")
    assert response.status_code == 404
    assert "KXNONE-1.5" in response.json()["message"]
    assert response.json()["code"] == "not_found"


def test_latest_is_the_newest_snapshot(client, recorded):
    market = Market.objects.get(ticker="KXFED-26DEC-H25")
    recorded.quote("KXFED-26DEC-H25", "0.6000", "0.6100")
    Poll.objects.all().delete()
    with recorded.client() as kalshi:
        record_tick(kalshi, interval=60)
    latest = client.get(f"{API}/markets/{market.ticker}/latest/").json()
    assert (latest["yes_bid"], latest["source"], latest["sequence"]) == ("0.6000", "POLL", None)
    snapshot = client.get(f"{API}/snapshots/{latest['id']}/").json()
    evidence = latest.keys() - snapshot.keys()
    assert evidence == {"observed_at", "evidence_age_seconds", "being_observed"}
    assert {name: latest[name] for name in snapshot} == snapshot


def test_a_market_without_a_snapshot_says_so(client, recorded):
    MarketSnapshot.objects.all().delete()
    response = client.get(f"{API}/markets/KXFED-26DEC-H25/latest/")
    assert response.status_code == 404
    assert "No snapshot of KXFED-26DEC-H25 has been recorded" in response.json()["message"]


@pytest.fixture
def history(recorded) -> Market:
    """Ten snapshots a minute apart from noon on, the last three backfilled."""
    market = Market.objects.get(ticker="KXFED-26DEC-H25")
    market.snapshots.all().delete()
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    MarketSnapshot.objects.bulk_create(
        MarketSnapshot(
            id=uuid4(),
            market=market,
            timestamp=noon + timedelta(minutes=n),
            recorded_at=noon,
            source="BACKFILL" if n >= 7 else "POLL",
            yes_bid=Decimal(n) / 100,
        )
        for n in range(10)
    )
    return market


def bids(response) -> list[str]:
    assert response.status_code == 200, response.content
    return [row["yes_bid"] for row in response.json()["results"]]


def test_snapshots_come_oldest_first_between_start_and_end(client, history):
    url = f"{API}/markets/{history.ticker}/snapshots/"
    assert len(bids(client.get(url))) == 10
    query = {"start": "2026-11-20T12:02:00Z", "end": "2026-11-20T13:04:00+01:00"}
    assert bids(client.get(url, query)) == ["0.0200", "0.0300"]


def test_a_row_of_snapshots_says_what_the_snapshot_itself_says(client, history):
    rows = client.get(f"{API}/markets/{history.ticker}/snapshots/").json()["results"]
    assert rows[0] == client.get(f"{API}/snapshots/{rows[0]['id']}/").json()


def test_snapshots_are_filtered_by_source(client, history):
    url = f"{API}/markets/{history.ticker}/snapshots/"
    assert bids(client.get(url, {"source": "BACKFILL"})) == ["0.0700", "0.0800", "0.0900"]


def test_snapshots_page_without_a_total(client, history):
    page = client.get(f"{API}/markets/{history.ticker}/snapshots/?limit=4&skip=8").json()
    assert "count" not in page
    assert [row["yes_bid"] for row in page["results"]] == ["0.0800", "0.0900"]
    assert page["next"] is None


def test_snapshots_cost_two_queries(client, history, django_assert_num_queries):
    with django_assert_num_queries(2):
        client.get(f"{API}/markets/{history.ticker}/snapshots/")


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"start": "yesterday"}, "start"),
        ({"end": "2026-13-01T00:00:00Z"}, "end"),
        ({"source": "RUMOUR"}, "source"),
        ({"skip": "10001"}, "skip"),
        ({"limit": "1001"}, "limit"),
        ({"start": "2026-11-21T00:00:00Z", "end": "2026-11-20T00:00:00Z"}, "end"),
        ({"start": "2026-11-20T12:00:00"}, "start"),
        ({"start": "0000-00-00T00:00:00Z"}, "start"),
        ({"source": "PO\0LL"}, "source"),
    ],
)
def test_a_malformed_parameter_of_snapshots_is_named(client, history, query, parameter):
    response = client.get(f"{API}/markets/{history.ticker}/snapshots/", query)
    assert response.status_code == 400, response.content
    assert list(response.json()["details"]) == [parameter]


@pytest.mark.parametrize("id", [str(UUID(int=7)), "not-a-uuid", "g" * 36])
def test_an_unknown_snapshot_is_a_404(client, recorded, id):
    response = client.get(f"{API}/snapshots/{id}/")
    assert response.status_code == 404
    assert response.json()["code"] == "not_found"


def test_a_health_check_without_a_slash_is_shown_the_way(client, db):
    response = client.get(f"{API}/health?probe=1")
    assert (response.status_code, response["Location"]) == (301, f"{API}/health/?probe=1")


@pytest.mark.parametrize("path", ["", "latest/", "snapshots/"])
def test_a_ticker_with_a_nul_is_a_404(client, db, path):
    assert client.get(f"{API}/markets/KX%00/{path}").status_code == 404


def test_a_strike_of_zero_is_written_as_a_number(client, recorded):
    Market.objects.update(floor_strike=0)
    assert client.get(f"{API}/markets/").json()["results"][0]["floor_strike"] == "0"


def test_the_deepest_page_leads_on_by_time(client, history, monkeypatch):
    monkeypatch.setattr("kalshi_insights.rest.pagination.CursorPages.max_skip", 4)
    url = f"{API}/markets/{history.ticker}/snapshots/?limit=2"
    read_bids = []
    while url:
        page = client.get(url).json()
        read_bids += [row["yes_bid"] for row in page["results"] if row["yes_bid"] not in read_bids]
        url = page["next"]
    assert read_bids == [f"0.0{n}00" for n in range(10)]


def test_a_search_with_a_nul_is_refused(client, recorded):
    assert client.get(f"{API}/markets/", {"q": "a\0"}).status_code == 400


def test_an_unknown_route_is_a_404_in_the_same_shape(client, db):
    response = client.get(f"{API}/nothing/here")
    assert response.status_code == 404
    assert set(response.json()) == {"code", "message", "details"}


def test_the_api_cannot_be_written_to(client, recorded):
    client.force_login(User.objects.create_superuser("root"))
    response = client.post(f"{API}/markets/", {"ticker": "X"}, content_type="application/json")
    assert response.status_code == 405
    assert response.json()["code"] == "method_not_allowed"


def test_health_tells_the_age_of_the_data(client, recorded):
    health = client.get(f"{API}/health/").json()
    assert health["status"] == "recording"
    assert health["data_age_seconds"] < 30
    assert health["universe_age_seconds"] < 30


def test_health_tells_a_late_recorder_from_a_stopped_one(client, recorded):
    Poll.objects.update(finished_at=datetime.now(UTC) - timedelta(seconds=30))
    assert client.get(f"{API}/health/").json()["status"] == "late"
    Poll.objects.all().delete()
    silent = client.get(f"{API}/health/").json()
    assert (silent["status"], silent["data_age_seconds"]) == ("stopped", None)


def test_the_browsable_api_and_the_schema_page_answer(client, recorded):
    page = client.get(f"{API}/markets/", headers={"accept": "text/html"})
    assert page.status_code == 200
    assert "style-src 'self' 'unsafe-inline'" in page["Content-Security-Policy"]
    assert client.get(f"{API}/schema/swagger/").status_code == 200
    assert client.get(f"{API}/schema/").status_code == 200


def test_the_number_of_series_does_not_change_the_number_of_queries(
    client, recorded, django_assert_num_queries
):
    assert Series.objects.count() == 2
    with django_assert_num_queries(3):
        client.get(f"{API}/markets/?limit=1")
