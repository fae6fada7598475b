"""Series, events, markets, snapshots and runs, and what their lists are narrowed by."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from markets.models import Event, Market, MarketSnapshot, Poll, Series, SeriesSearchText
from markets.tests.factories import a_market, a_poll, a_snapshot, an_event, observe

pytestmark = pytest.mark.django_db

API = "/api/v1"
NOUNS = ["series", "events", "markets", "polls"]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def results(client, path: str, **query: str) -> list[dict]:
    response = client.get(f"{API}/{path}/", query)
    assert response.status_code == 200, response.content
    rows: list[dict] = response.json()["results"]
    return rows


def tickers(client, path: str = "markets", **query: str) -> list[str]:
    return [row["ticker"] for row in results(client, path, **query)]


def refused(client, path: str, query: dict[str, object]) -> dict[str, list[str]]:
    response = client.get(f"{API}/{path}/", query)
    assert response.status_code == 400, response.content
    assert response.json()["code"] == "invalid"
    details: dict[str, list[str]] = response.json()["details"]
    return details


class TestSeries:
    @pytest.fixture(autouse=True)
    def weather(self):
        an_event("Rain", ticker="RAIN", category="Climate")
        an_event("Vote", ticker="VOTE", category="Politics")
        Series.objects.filter(ticker="SRAIN").update(
            title="Rain in town", tags=["Daily", "NYC"], fee_type="quadratic", fee_multiplier=1
        )
        SeriesSearchText.objects.refresh(Series.objects.values_list("pk", flat=True))

    @pytest.mark.parametrize(
        "query",
        [
            {"q": "TOWN rain"},
            {"category": "Climate"},
            {"category": "climate"},
            {"tag": "NYC"},
            {"tag": "nyc"},
            {"fee_type": "Quadratic"},
        ],
    )
    def test_they_are_narrowed(self, client, query):
        assert tickers(client, "series", **query) == ["SRAIN"]

    def test_they_come_by_ticker_and_back(self, client):
        assert tickers(client, "series") == ["SRAIN", "SVOTE"]
        assert tickers(client, "series", ordering="-ticker") == ["SVOTE", "SRAIN"]

    def test_a_row_of_the_list_is_what_the_series_itself_says(self, client):
        [row] = results(client, "series", q="SRAIN")
        assert row["fee_multiplier"] == "1"
        assert client.get(f"{API}/series/SRAIN/").json() == row


class TestEvents:
    @pytest.fixture(autouse=True)
    def events(self):
        rain = an_event("Rain in town", ticker="RAIN", category="Climate")
        a_market("RAIN-T2", event=rain, floor_strike=2)
        a_market("RAIN-T1", event=rain, floor_strike=1)
        vote = an_event("Who wins", ticker="VOTE", category="Politics")
        a_market("VOTE-A", event=vote, status="finalized")
        Event.objects.filter(ticker="VOTE").update(recorded_at=NOON)

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({"q": "rain town"}, ["RAIN"]),
            ({"series": "SVOTE"}, ["VOTE"]),
            ({"category": "Climate"}, ["RAIN"]),
            ({"status": "open"}, ["RAIN"]),
            ({"status": "finalized"}, ["VOTE"]),
            ({"status": "all"}, ["RAIN", "VOTE"]),
            ({"updated_since": "2026-11-20T12:00:01Z"}, ["RAIN"]),
            ({"ordering": "recorded_at"}, ["VOTE", "RAIN"]),
            ({"ordering": "-recorded_at"}, ["RAIN", "VOTE"]),
        ],
    )
    def test_they_are_narrowed_and_ordered(self, client, query, expected):
        assert tickers(client, "events", **query) == expected

    def test_a_row_of_the_list_is_what_the_event_itself_says(self, client):
        [row] = results(client, "events", q="VOTE")
        assert (row["series_ticker"], row["category"]) == ("SVOTE", "Politics")
        assert client.get(f"{API}/events/VOTE/").json() == row

    def test_on_request_they_bring_their_markets_up_the_ladder(self, client):
        [rain, vote] = results(client, "events", markets="true")
        assert [market["ticker"] for market in rain["markets"]] == ["RAIN-T1", "RAIN-T2"]
        assert vote["markets"] == results(client, "markets", event="VOTE")
        assert client.get(f"{API}/events/RAIN/?markets=true").json() == rain

    def test_with_their_markets_fewer_fit_on_a_page(self, client):
        assert list(refused(client, "events", {"markets": "true", "limit": "101"})) == ["limit"]

    def test_markets_is_true_or_false(self, client):
        assert "markets" not in results(client, "events", markets="false")[0]
        for path in ("events", "events/RAIN"):
            assert list(refused(client, path, {"markets": "perhaps"})) == ["markets"]

    def test_their_markets_cost_one_query_for_all(self, client, django_assert_num_queries):
        with django_assert_num_queries(3):
            results(client, "events", markets="true")


class TestMarkets:
    @pytest.fixture(autouse=True)
    def markets(self):
        a_market("A", quoted_at=NOON, recorded_at=NOON, close_time=NOON)
        a_market(
            "B",
            event=an_event("Vote", ticker="VOTE", category="Politics"),
            yes_bid=Decimal("0.70"),
            yes_ask=Decimal("0.71"),
            volume_24h=Decimal(5),
            open_interest=Decimal(10),
        )
        a_market("C", yes_ask=None, volume_24h=None, open_interest=None, status="finalized")

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({"q": "vote"}, "B"),
            ({"category": "Politics"}, "B"),
            ({"event": "VOTE"}, "B"),
            ({"status": "settled"}, "C"),
            ({"closes_after": "2026-11-20T12:00:00.000001Z"}, "BC"),
            ({"closes_before": "2026-11-20T12:00:00Z"}, ""),
            ({"closes_before": "2026-11-20T12:00:01Z"}, "A"),
            ({"price_min": "0.435"}, "AB"),
            ({"price_min": "0.4351"}, "B"),
            ({"price_max": "0.435"}, "A"),
            ({"volume_min": "5.00"}, "AB"),
            ({"volume_max": "5"}, "B"),
            ({"interest_min": "11"}, "A"),
            ({"spread_max": "0.02"}, "B"),
            ({"two_sided": "true"}, "AB"),
            ({"two_sided": "false"}, "C"),
            ({"updated_since": "2026-11-20T13:00:00+01:00"}, "ABC"),
            ({"updated_since": "2026-11-20T12:00:01Z"}, "BC"),
            ({"ordering": "-ticker"}, "CBA"),
            ({"ordering": "-yes_price"}, "BAC"),
            ({"ordering": "yes_price"}, "ABC"),
            ({"ordering": "-volume_24h", "two_sided": ""}, "ABC"),
            ({"ordering": "volume_24h"}, "BAC"),
            ({"ordering": "-open_interest"}, "ABC"),
            ({"ordering": "open_interest"}, "BAC"),
        ],
    )
    def test_they_are_narrowed_and_ordered(self, client, query, expected):
        assert "".join(tickers(client, **query)) == expected

    def test_a_second_key_orders_those_that_the_first_leaves_equal(self, client):
        for ticker in ("E", "D"):
            a_market(ticker, volume_24h=Decimal(7))
        assert "".join(tickers(client, ordering="-volume_24h,ticker")) == "ADEBC"
        assert "".join(tickers(client, ordering="volume_24h, -ticker")) == "BEDAC"

    def test_the_page_narrows_by_the_same_words(self, client):
        html = client.get("/markets/?status=all&price_min=0.5").content.decode()
        assert "/markets/B/" in html
        assert "/markets/A/" not in html


def test_a_snapshot_is_found_by_its_id_in_two_places(client):
    newest = a_snapshot(a_market("A"), datetime.now(UTC), yes_bid=Decimal("0.1"))
    newest.save()
    expected = client.get(f"{API}/snapshots/{newest.id}/").json()
    assert (expected["ticker"], expected["yes_bid"]) == ("A", "0.1000")
    assert client.get(f"{API}/markets/{newest.id}/").json() == expected
    assert client.get(f"{API}/markets/{str(newest.id).upper()}/").json() == expected


@pytest.mark.parametrize("query", ["as_of=banana", "as_of=2026-11-20T12:00:00Z", "unheard=of"])
def test_a_snapshot_in_a_markets_place_takes_no_parameter(client, query):
    snapshot = a_snapshot(a_market("A"), datetime.now(UTC))
    snapshot.save()
    response = client.get(f"{API}/markets/{snapshot.id}/?{query}")
    assert response.status_code == 400
    assert list(response.json()["details"]) == [query.partition("=")[0]]


def test_a_lookup_by_id_opens_the_partition_of_its_day_alone(django_assert_num_queries):
    newest = a_snapshot(a_market("A"), datetime.now(UTC))
    newest.save()
    with django_assert_num_queries(1) as captured:
        assert MarketSnapshot.objects.by_id(newest.id) == newest
    [query] = captured.captured_queries
    plan = MarketSnapshot.objects.raw(f"EXPLAIN {query['sql']}").query
    lines = "\n".join(row[0] for row in plan)
    day = f"{newest.timestamp:%Y%m%d}"
    assert lines.count(" on markets_marketsnapshot_") == 1, lines
    assert f" on markets_marketsnapshot_{day} " in lines


def test_an_id_of_another_kind_is_found_too():
    newest = a_snapshot(a_market("A"), datetime.now(UTC))
    newest.id = uuid4()
    newest.save()
    assert MarketSnapshot.objects.by_id(newest.id) == newest


@pytest.mark.parametrize("id", [UUID(int=7), UUID("ffffffff-ffff-7fff-bfff-ffffffffffff")])
def test_an_unknown_id_is_a_404_in_two_places(client, id):
    for noun in ("snapshots", "markets"):
        response = client.get(f"{API}/{noun}/{id}/")
        assert response.status_code == 404
        assert str(id) in response.json()["message"]


class TestPolls:
    @pytest.fixture(autouse=True)
    def runs(self) -> list[Poll]:
        errors = ["", "OperationalError: secret", ""]
        return [a_poll(NOON + timedelta(minutes=n), error=error) for n, error in enumerate(errors)]

    def times(self, client, **query: str) -> list[str]:
        return [row["started_at"][14:16] for row in results(client, "polls", **query)]

    def test_the_newest_comes_first(self, client):
        assert self.times(client) == ["02", "01", "00"]
        assert self.times(client, ordering="started_at", limit="2", skip="1") == ["01", "02"]

    def test_they_are_narrowed(self, client):
        assert self.times(client, failed="true") == ["01"]
        assert self.times(client, failed="false") == ["02", "00"]
        span = {"start": "2026-11-20T12:01:00Z", "end": "2026-11-20T12:02:00Z"}
        assert self.times(client, **span) == ["01"]

    def test_what_went_wrong_inside_is_not_told(self, client, runs):
        [row] = results(client, "polls", failed="true")
        assert "secret" not in str(row)
        assert client.get(f"{API}/polls/{runs[1].pk}/").json() == row
        assert (row["failed"], row["warned"]) == (True, False)

    def test_an_unknown_one_is_a_404(self, client):
        assert client.get(f"{API}/polls/{10**17}/").status_code == 404


@pytest.mark.parametrize("noun", NOUNS)
def test_a_list_takes_two_or_three_queries_however_long_it_is(
    client, noun, django_assert_max_num_queries
):
    for number in range(3):
        a_market(f"M{number}-1", event=an_event("One of many", ticker=f"M{number}"))
        a_poll(NOON + timedelta(minutes=number))
    with django_assert_max_num_queries(3):
        assert len(results(client, noun)) == 3


@pytest.mark.parametrize("noun", ["series", "events", "markets"])
def test_a_name_nobody_has_is_a_404_that_says_it(client, noun):
    for name in ("KXNONE-1.5", "x" * 3000, "%00"):
        response = client.get(f"{API}/{noun}/{name}/")
        assert response.status_code == 404
        assert response.json()["code"] == "not_found"
    assert "KXNONE-1.5" in client.get(f"{API}/{noun}/KXNONE-1.5/").json()["message"]


@pytest.mark.parametrize("noun", NOUNS)
@pytest.mark.parametrize("name", ["volumemin", "as__of", "Q", "id", "ticker__icontains", "\0"])
def test_an_unknown_parameter_is_named_with_those_that_are_known(client, noun, name):
    details = refused(client, noun, {name: "1"})
    assert list(details) == [name]
    assert "limit" in details[name][0]


@pytest.mark.parametrize("name", ["status", "limit", "markets", "x"])
def test_a_single_market_knows_hardly_any_parameter(client, name):
    a_market("A")
    assert list(refused(client, "markets/A", {name: "1"})) == [name]


def test_a_parameter_that_comes_twice_is_refused(client):
    details = refused(client, "markets", {"status": ["open", "closed"]})
    assert details == {"status": ["Given more than once."]}


@pytest.mark.parametrize(
    ("noun", "name", "value"),
    [
        *(
            ("markets", name, value)
            for name in ("price_min", "price_max", "spread_max", "volume_min", "interest_min")
            for value in ("NaN", "Infinity", "-1", "1e-1", "1_0", "٣", "0x1", "9" * 40, "0.12345")
        ),
        ("markets", "price_min", "1.01"),
        ("markets", "q", "x" * 301),
        ("markets", "q", "aaa bbb ccc ddd eee fff ggg hhh iii"),
        ("markets", "q", "a\0"),
        ("markets", "series", "x" * 201),
        ("markets", "two_sided", "yes"),
        ("markets", "ordering", "id; DROP TABLE"),
        ("markets", "ordering", "volume"),
        ("markets", "ordering", "ticker,"),
        ("markets", "ordering", "--ticker"),
        ("markets", "closes_after", "2026-11-20T12:00:00"),
        ("markets", "closes_before", "0000-00-00T00:00:00Z"),
        ("markets", "updated_since", "1795000000"),
        ("events", "updated_since", "soon"),
        ("events", "status", "asleep"),
        ("events", "ordering", "volume"),
        ("series", "tag", "\0"),
        ("series", "tag", "Nightly"),
        ("series", "fee_type", "cubic"),
        ("series", "category", "Nothing"),
        ("events", "category", "Nothing"),
        ("markets", "category", "Nothing"),
        ("polls", "failed", "1"),
        ("polls", "start", "2026-11-20"),
        ("polls", "skip", "10001"),
    ],
)
def test_nonsense_is_refused_by_its_name(client, noun, name, value):
    assert list(refused(client, noun, {name: value})) == [name]


@pytest.mark.parametrize(
    ("noun", "low", "high", "values"),
    [
        ("markets", "price_min", "price_max", ("0.6", "0.5")),
        ("markets", "volume_min", "volume_max", ("2", "1")),
        (
            "markets",
            "closes_after",
            "closes_before",
            ("2026-11-20T12:00:00Z", "2026-11-20T12:00:00+01:00"),
        ),
        ("polls", "start", "end", ("2026-11-20T12:00:00Z", "2026-11-20T11:00:00Z")),
    ],
)
def test_a_range_that_ends_before_it_begins_is_refused(client, noun, low, high, values):
    query = dict(zip((low, high), values, strict=True))
    assert list(refused(client, noun, query)) == [high]


@pytest.mark.parametrize("offset", ["+01:00", "+0100", "+01"])
@pytest.mark.parametrize(
    ("noun", "name"),
    [
        ("markets", "closes_after"),
        ("markets", "as_of"),
        ("events", "updated_since"),
        ("polls", "start"),
        ("markets/A/snapshots", "end"),
        ("markets/A/coverage", "start"),
        ("markets/A/candlesticks", "end"),
        ("markets/A/orderbook", "as_of"),
    ],
)
def test_a_plus_sign_that_became_a_space_is_told_as_such(client, noun, name, offset):
    a_market("A")
    address = f"{API}/{noun}/?{name}=2026-11-20T12:00:00{offset}"
    response = client.get(address)
    assert response.status_code == 400
    assert "%2B" in response.json()["details"][name][0]
    assert client.get(address.replace("+", "%2B")).status_code in (200, 404)


FILTERS = {
    "series": ["q", "category", "tag", "fee_type", "ordering", "limit", "skip"],
    "events": ["q", "series", "status", "updated_since", "as_of", "markets", "limit"],
    "markets": [
        "q",
        "status",
        "event",
        "closes_after",
        "closes_before",
        "price_min",
        "price_max",
        "volume_max",
        "spread_max",
        "two_sided",
        "updated_since",
        "as_of",
        "ordering",
        "skip",
    ],
    "polls": ["start", "end", "failed", "ordering", "limit"],
}
VALUES = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["true", "open", "ticker", "0.5", "1", "", "2026-11-20T12:00:00Z"]),
    st.decimals().map(str),
    st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    st.sampled_from(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "%", "\\", "'"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_asked_is_answered_or_refused_by_name(client, data):
    noun = data.draw(st.sampled_from(NOUNS))
    query = data.draw(st.dictionaries(st.sampled_from(FILTERS[noun]), VALUES, max_size=4))
    response = client.get(f"{API}/{noun}/", query)
    assert response.status_code in (200, 400)
    if response.status_code == 400:
        assert set(response.json()["details"]) <= set(query)


CENTS = st.integers(0, 100).map(lambda cents: Decimal(cents) / 100)
ROUNDLY = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
# What each filter of markets means, of one market as the API tells of it.
MEANINGS = {
    "price_min": lambda row, value: mid(row) is not None and mid(row) >= value,
    "price_max": lambda row, value: mid(row) is not None and mid(row) <= value,
    "spread_max": lambda row, value: mid(row) is not None and spread(row) <= value,
    "volume_min": lambda row, value: Decimal(row["volume_24h"] or "-1") >= value,
    "volume_max": lambda row, value: row["volume_24h"] and Decimal(row["volume_24h"]) <= value,
    "two_sided": lambda row, value: (mid(row) is not None) == value,
}


def spread(row: dict[str, Any]) -> Decimal:
    return Decimal(row["yes_ask"]) - Decimal(row["yes_bid"])


def mid(row: dict[str, Any]) -> Decimal | None:
    if row["yes_bid"] is None or row["yes_ask"] is None:
        return None
    return (Decimal(row["yes_bid"]) + Decimal(row["yes_ask"])) / 2


@ROUNDLY
@given(data=st.data())
def test_those_markets_are_listed_that_the_filters_mean(client, data):
    Market.objects.all().delete()
    quotes = st.tuples(*[st.none() | CENTS] * 2, st.none() | st.integers(0, 100))
    for n, (bid, ask, volume) in enumerate(data.draw(st.lists(quotes, min_size=1, max_size=6))):
        a_market(f"KX-{n}", yes_bid=bid, yes_ask=ask, volume_24h=volume)
    wishes = {
        "two_sided": st.booleans(),
        "volume_min": st.integers(0, 50),
        "volume_max": st.integers(50, 100),
        "price_min": CENTS.filter(lambda price: price <= Decimal("0.5")),
        "price_max": CENTS.filter(lambda price: price >= Decimal("0.5")),
        "spread_max": CENTS,
    }
    query = data.draw(st.fixed_dictionaries({}, optional=wishes))
    rows = results(client, "markets", ordering="ticker")
    meant = [
        row["ticker"]
        for row in rows
        if all(MEANINGS[name](row, value) for name, value in query.items())
    ]
    words = {name: str(value).lower() for name, value in query.items()}
    assert tickers(client, **words, ordering="ticker") == meant


def test_the_root_leads_to_every_noun(client):
    links = client.get(reverse("api:api-root")).json()
    assert {*NOUNS} <= set(links)


@pytest.mark.parametrize("noun", NOUNS)
def test_an_unknown_format_is_refused(client, noun):
    assert list(refused(client, noun, {"format": "xml"})) == ["format"]
    assert client.get(f"{API}/{noun}/?format=json").status_code == 200


def test_a_market_that_has_not_changed_is_not_sent_again(client):
    market = a_market("A")
    first = client.get(f"{API}/markets/A/")
    conditional = {"If-None-Match": first["ETag"]}
    assert client.get(f"{API}/markets/A/", headers=conditional).status_code == 304
    market.quoted_at = datetime.now(UTC)
    market.save()
    assert client.get(f"{API}/markets/A/", headers=conditional).status_code == 200


@pytest.mark.parametrize("noun", NOUNS)
def test_the_browsable_page_offers_the_filters(client, noun):
    page = client.get(f"{API}/{noun}/", headers={"accept": "text/html"}).content.decode()
    assert 'name="ordering"' in page


def test_everything_can_be_found_from_the_root(client):
    market = a_market()
    observe(market, datetime.now(UTC), "0.42", "0.45")
    snapshot = str(MarketSnapshot.objects.get().pk)
    links = client.get("/api/v1/").json()
    assert {"series", "events", "markets", "market_snapshots", "market_coverage"} < links.keys()
    for name, address in links.items():
        path = address.replace("{ticker}", market.ticker).replace("{uuid}", snapshot)
        path = path.replace("{name}", "do-nothing")
        # Nothing is on record of its book, nothing has been run, and nobody has signed in.
        missing = name == "market_orderbook" or "{id}" in path
        expected_status = 404 if missing else 401 if name == "account" else 200
        assert client.get(path).status_code == expected_status, path


class TestDerivedPrices:
    """`yes_price` is the midpoint of a book quoted on both sides, `no_price` a dollar less it."""

    def everywhere(self, client, ticker: str) -> list[tuple[str | None, str | None]]:
        market = client.get(f"/api/v1/markets/{ticker}/").json()
        [row] = results(client, "markets", q=ticker)
        [snapshot] = results(client, f"markets/{ticker}/snapshots")
        latest = client.get(f"/api/v1/markets/{ticker}/latest/").json()
        return [(each["yes_price"], each["no_price"]) for each in (market, row, snapshot, latest)]

    def test_they_are_exact_to_half_a_step(self, client):
        observe(a_market("FINE"), NOON, "0.0001", "0.0002")
        assert set(self.everywhere(client, "FINE")) == {("0.00015", "0.99985")}

    def test_they_are_null_while_a_side_is_missing(self, client):
        observe(a_market("THIN"), NOON, "0.40", None)
        assert set(self.everywhere(client, "THIN")) == {(None, None)}


def test_health_answers_at_its_short_address_too(client):
    assert client.get("/health").json().keys() == client.get("/api/v1/health/").json().keys()
