import csv
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from django.utils.http import http_date
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_bakery import baker

from markets.models import Market, MarketRevision, MarketSnapshot, OrderBookSnapshot, TradeOrigin
from markets.models.trades import trade_uuid
from markets.tests.factories import a_market, a_poll, a_snapshot, a_trade, observe

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def market() -> Market:
    return a_market()


def at(market: Market, path: str) -> str:
    return f"/api/v1/markets/{market.ticker}/{path}/"


def snapshots(market: Market, *times: datetime, **quote) -> None:
    for time in times:
        a_snapshot(market, time, **quote).save()


def ok(response):
    assert response.status_code == 200, response.content
    return response.json()


def refused(response) -> list[str]:
    assert response.status_code == 400, response.content
    assert response.json()["code"] == "invalid"
    return list(response.json()["details"])


def walk(client, url: str, *, between=lambda: None) -> list[str]:
    """The ids of all pages, each reached by the `next` of the one before."""
    ids: list[str] = []
    while url:
        page = ok(client.get(url))
        ids += [row["id"] for row in page["results"]]
        url = page["next"]
        between()
    return ids


class TestRanges:
    @settings(
        max_examples=40,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        micros=st.sets(st.integers(0, 6), min_size=1),
        edges=st.tuples(st.none() | st.integers(0, 6), st.none() | st.integers(0, 6)),
        format=st.sampled_from(["json", "csv"]),
    )
    def test_a_range_begins_with_its_start_and_ends_before_its_end(
        self, client, micros, edges, format
    ):
        market = a_market(f"KXRANGE-{uuid4()}")
        times = {n: NOON + timedelta(microseconds=n) for n in range(7)}
        snapshots(market, *(times[n] for n in micros))
        start, end = edges
        limits = {"start": start, "end": end}
        query = {name: times[n].isoformat() for name, n in limits.items() if n is not None}
        response = client.get(at(market, "snapshots"), {**query, "format": format})
        if start is not None and end is not None and start >= end:
            assert refused(response) == ["end"]
            return
        rows = ok(response)["results"] if format == "json" else csv_rows(response)
        indexes = range(0 if start is None else start, 7 if end is None else end)
        assert [datetime.fromisoformat(row["timestamp"]) for row in rows] == [
            times[n] for n in sorted(micros) if n in indexes
        ]


def csv_rows(response) -> list[dict[str, str]]:
    assert response.status_code == 200
    text = b"".join(response.streaming_content).decode()
    return list(csv.DictReader(text.splitlines()))


class TestPages:
    def test_next_goes_on_by_a_cursor(self, client, market):
        snapshots(market, *(NOON + n * MINUTE for n in range(5)))
        url = at(market, "snapshots") + "?limit=2&skip=1"
        page = ok(client.get(url))
        query = parse_qs(urlsplit(page["next"]).query)
        assert set(query) == {"limit", "cursor"}
        following = ok(client.get(page["next"]))
        assert [row["timestamp"] for row in following["results"]] == [
            "2026-11-20T12:03:00Z",
            "2026-11-20T12:04:00Z",
        ]
        assert following["next"] is None

    def test_rows_of_the_same_instant_are_told_apart(self, client, market):
        sources = ("POLL", "WEBSOCKET", "BACKFILL")
        for source in sources:
            baker.make(MarketSnapshot, id=uuid4(), market=market, timestamp=NOON, source=source)
        read = walk(client, at(market, "snapshots") + "?limit=1")
        assert sorted(read) == sorted(map(str, market.snapshots.values_list("id", flat=True)))

    @settings(
        max_examples=15,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(
        seconds=st.lists(st.integers(0, 30), min_size=1, max_size=30),
        limit=st.integers(1, 7),
        seed=st.integers(0, 1000),
    )
    def test_a_walk_while_rows_arrive_gives_each_row_once(self, client, seconds, limit, seed):
        market = a_market(f"KXWALK-{uuid4()}")
        chance = random.Random(seed)

        def arrive(second: float) -> str:
            id = uuid4()
            baker.make(
                MarketSnapshot,
                id=id,
                market=market,
                timestamp=NOON + timedelta(seconds=second),
                source="WEBSOCKET",
                sequence=chance.randrange(10**15),
            )
            return str(id)

        there = [arrive(second) for second in seconds]
        ahead: list[str] = []

        def between() -> None:
            arrive(-chance.random())
            if len(ahead) < 20:
                ahead.append(arrive(31 + len(ahead)))

        start = (NOON - timedelta(seconds=5)).isoformat().replace("+00:00", "Z")
        read = walk(
            client, f"{at(market, 'snapshots')}?limit={limit}&start={start}", between=between
        )
        assert len(read) == len(set(read))
        assert set(there) <= set(read)
        # All that came after the place the walk had reached, but for what came after its end.
        assert set(ahead[:-1]) <= set(read)

    @pytest.mark.parametrize(
        ("query", "parameter"),
        [
            ("cursor=", "cursor"),
            ("cursor=nonsense", "cursor"),
            ("cursor=%00", "cursor"),
            ("cursor=" + "A" * 5000, "cursor"),
            ("cursor=MC4w", "cursor"),  # 0.0, and 0 is no UUID
            ("cursor=" + "OTk5OTk5OTk5OTk5OTk5OTk5OTkuMA", "cursor"),
            ("start=NaN", "start"),
            ("end=2026-11-20T12:00:00", "end"),
            ("source=RUMOUR", "source"),
            ("colour=red", "colour"),
            ("format=yaml", "format"),
        ],
    )
    def test_a_parameter_without_a_meaning_is_named(self, client, market, query, parameter):
        assert refused(client.get(f"{at(market, 'snapshots')}?{query}")) == [parameter]

    def test_a_cursor_has_no_skip_beside_it(self, client, market):
        snapshots(market, NOON, NOON + MINUTE)
        page = ok(client.get(at(market, "snapshots") + "?limit=1"))
        assert refused(client.get(page["next"] + "&skip=0")) == ["skip"]

    def test_a_page_costs_two_queries(self, client, market, django_assert_num_queries):
        snapshots(market, NOON, NOON + MINUTE)
        with django_assert_num_queries(2):
            client.get(at(market, "snapshots") + "?limit=1")


class TestTrades:
    @pytest.fixture(autouse=True)
    def _trades(self, market):
        for n, block in enumerate((False, True, False)):
            a_trade(market, NOON + n * MINUTE, f"trade-{n}", is_block_trade=block)

    def names(self, client, market, **query) -> list[str]:
        return named(ok(client.get(at(market, "trades"), query))["results"])

    def test_come_oldest_first_with_numbers_as_words(self, client, market):
        first = ok(client.get(at(market, "trades")))["results"][0]
        assert named([first]) == ["trade-0"]
        assert (first["count"], first["yes_price"]) == ("1.50", "0.4200")
        assert first["created_time"] == "2026-11-20T12:00:00Z"
        assert first["ticker"] == market.ticker

    def test_are_told_from_blocks(self, client, market):
        assert self.names(client, market, block="true") == ["trade-1"]
        assert self.names(client, market, block="false") == ["trade-0", "trade-2"]
        assert refused(client.get(at(market, "trades"), {"block": "perhaps"})) == ["block"]

    def test_are_cut_by_start_and_end(self, client, market):
        read = self.names(client, market, start="2026-11-20T12:01:00Z", end="2026-11-20T12:02:00Z")
        assert read == ["trade-1"]

    def test_are_walked_by_cursor(self, client, market):
        page = ok(client.get(at(market, "trades") + "?limit=2"))
        assert named(ok(client.get(page["next"]))["results"]) == ["trade-2"]

    def test_tell_their_source_and_since_when_they_were_known(self, client, market):
        seen = NOON + 4 * MINUTE
        values = {"known_at": seen, "source_code": TradeOrigin.TAPE}
        a_trade(market, NOON + 3 * MINUTE, "trade-3", **values)
        [row] = ok(client.get(at(market, "trades"), {"source": "TAPE"}))["results"]
        assert (row["source"], row["known_at"]) == ("TAPE", "2026-11-20T12:04:00Z")
        assert len(self.names(client, market, source="BACKFILL")) == 3
        assert refused(client.get(at(market, "trades"), {"source": "POLL"})) == ["source"]

    def test_of_all_markets_are_one_list(self, client, market):
        other = a_market("KXSNOW-26NOV21")
        a_trade(other, NOON + MINUTE / 2, "trade-4")
        page = ok(client.get("/api/v1/trades/", {"limit": 2}))
        assert [row["ticker"] for row in page["results"]] == [market.ticker, other.ticker]
        assert named(ok(client.get(page["next"]))["results"]) == ["trade-1", "trade-2"]
        day = {"start": "2026-11-20T00:00:00Z", "end": "2026-11-21T00:00:00Z"}
        rows = client.get("/api/v1/trades/", {"format": "csv", "block": "true", **day})
        assert b"".join(rows.streaming_content).count(b"\n") == 2

    @pytest.mark.parametrize("rare", [{"source": "BACKFILL"}, {"block": "true"}])
    def test_of_all_markets_by_source_or_in_blocks_need_a_day(self, client, market, rare):
        start = {"start": "2026-11-20T00:00:00Z"}
        long = {**start, "end": "2026-11-21T00:00:01Z"}
        for times in ({}, start, long):
            assert refused(client.get("/api/v1/trades/", rare | times)) == list(rare)
        assert ok(client.get("/api/v1/trades/", rare | start | {"end": "2026-11-21T00:00:00Z"}))
        assert ok(client.get("/api/v1/trades/", {"block": "false"}))
        assert ok(client.get(at(market, "trades"), rare))


def named(rows) -> list[str]:
    """Return the names of which trades' ids were made."""
    names = {str(trade_uuid(f"trade-{n}")): f"trade-{n}" for n in range(5)}
    return [names[row["trade_id"]] for row in rows]


def test_revisions_tell_what_was_known_since_when(client, market):
    for n, status in enumerate(("active", "closed", "finalized")):
        baker.make(
            MarketRevision,
            market=market,
            known_at=NOON + n * MINUTE,
            status=status,
            settlement_value=Decimal(1) if status == "finalized" else None,
        )
    rows = ok(client.get(at(market, "revisions")))["results"]
    assert [row["status"] for row in rows] == ["active", "closed", "finalized"]
    assert [row["settlement_value"] for row in rows] == [None, None, "1.000000"]
    assert rows[1]["known_at"] == "2026-11-20T12:01:00Z"


class TestCandlesticks:
    def candles(self, client, market, **query):
        query = {"start": "2026-11-20T12:00:00Z", "end": "2026-11-20T13:00:00Z", **query}
        rows = ok(client.get(at(market, "candlesticks"), query))["results"]
        return [row for row in rows if row["state"] == "recorded"]

    def test_a_bucket_has_its_first_highest_lowest_and_last_quote(self, client, market):
        for n, bid in enumerate(("0.40", "0.44", "0.38", "0.41")):
            quote = {"yes_bid": Decimal(bid), "yes_ask": Decimal("0.50"), "last_price": bid}
            snapshots(market, NOON + timedelta(seconds=10 * n), **quote)
        [candle] = self.candles(client, market)
        assert candle["start"] == "2026-11-20T12:00:00Z"
        sides = [candle[f"yes_bid_{name}"] for name in ("open", "high", "low", "close")]
        assert sides == ["0.4000", "0.4400", "0.3800", "0.4100"]
        assert candle["yes_ask_open"] == candle["yes_ask_low"] == "0.5000"
        assert (candle["last_price"], candle["snapshots"]) == ("0.4100", 4)

    def test_a_side_nobody_offered_last_has_no_close(self, client, market):
        snapshots(market, NOON, yes_bid=Decimal("0.40"))
        snapshots(market, NOON + timedelta(seconds=5), yes_bid=None)
        [candle] = self.candles(client, market)
        assert (candle["yes_bid_open"], candle["yes_bid_close"]) == ("0.4000", None)
        assert candle["yes_ask_high"] is None

    def test_a_bucket_without_a_snapshot_has_no_quote_and_says_so(self, client, market):
        Market.objects.update(open_time=NOON)
        snapshots(market, NOON, NOON + 3 * MINUTE)
        query = {"start": "2026-11-20T12:00:00Z", "end": "2026-11-20T12:04:00Z"}
        rows = ok(client.get(at(market, "candlesticks"), query))["results"]
        states = [(row["start"][14:16], row["state"], row["snapshots"]) for row in rows]
        assert states == [
            ("00", "recorded", 1),
            ("01", "unobserved", 0),
            ("02", "unobserved", 0),
            ("03", "recorded", 1),
        ]
        assert {name: value for name, value in rows[1].items() if value is not None} == {
            "start": "2026-11-20T12:01:00Z",
            "snapshots": 0,
            "state": "unobserved",
        }

    def test_volume_is_what_came_since_it_was_last_known(self, client, market):
        volumes = {-1: 100, 0: 130, 1: None, 2: 130, 3: 155}
        for minute, volume in volumes.items():
            snapshots(market, NOON + minute * MINUTE, volume=volume)
        candles = self.candles(client, market)
        assert [candle["volume"] for candle in candles] == ["30.00", None, "0.00", "25.00"]

    def test_volume_is_unknown_where_nothing_was_known_before(self, client, market):
        snapshots(market, NOON, volume=100)
        snapshots(market, NOON + MINUTE, volume=107)
        assert [each["volume"] for each in self.candles(client, market)] == [None, "7.00"]

    def test_buckets_are_whole(self, client, market):
        snapshots(market, NOON, NOON + 20 * MINUTE, NOON + 59 * MINUTE)
        within = {"start": "2026-11-20T12:10:00Z", "end": "2026-11-20T12:30:00Z"}
        [candle] = self.candles(client, market, interval="1h", **within)
        assert (candle["start"], candle["snapshots"]) == ("2026-11-20T12:00:00Z", 3)

    def test_may_be_of_one_source(self, client, market):
        snapshots(market, NOON)
        assert self.candles(client, market, source="BACKFILL") == []

    def test_begin_with_the_first_snapshot_by_themselves(self, client, market):
        now = datetime.now(UTC)
        snapshots(market, now - timedelta(hours=26), now - timedelta(hours=23), now - MINUTE)
        rows = ok(client.get(at(market, "candlesticks")))["results"]
        assert 26 * 60 <= len(rows) <= 26 * 60 + 1
        assert [row["state"] for row in rows].count("recorded") == 3
        assert rows[0]["state"] == "recorded"

    @pytest.mark.parametrize(
        ("query", "parameter"),
        [
            ({"interval": "2m"}, "interval"),
            ({"start": "2026-11-20T14:00:00Z"}, "end"),
            ({"start": "0001-01-01T00:00:00Z"}, "start"),
            ({"end": "9999-12-31T23:59:59Z"}, "end"),
            ({"source": "RUMOUR"}, "source"),
            ({"limit": "5"}, "limit"),
        ],
    )
    def test_what_makes_no_candles_is_named(self, client, market, query, parameter):
        query = {"start": "2026-11-20T12:00:00Z", "end": "2026-11-20T13:00:00Z", **query}
        assert refused(client.get(at(market, "candlesticks"), query)) == [parameter]

    def test_come_in_columns_for_a_chart(self, client, market):
        snapshots(market, NOON, yes_bid=Decimal("0.40"), volume=5)
        query = {
            "start": "2026-11-20T12:00:00Z",
            "end": "2026-11-20T13:00:00Z",
            "format": "columns",
        }
        columns = ok(client.get(at(market, "candlesticks"), query))["columns"]
        assert columns["start"][:2] == [1795176000000, 1795176060000]
        assert columns["yes_bid_close"][:2] == [0.4, None]
        assert columns["yes_ask_close"][:2] == [None, None]
        assert columns["state"][0] == "recorded"

    def test_cost_as_many_queries_however_many_there_are(
        self, client, market, django_assert_max_num_queries
    ):
        snapshots(market, *(NOON + n * MINUTE for n in range(0, 60, 5)))
        with django_assert_max_num_queries(11):
            client.get(at(market, "candlesticks"))


class TestOrderBook:
    @pytest.fixture(autouse=True)
    def _books(self, market):
        for n, price in enumerate(("0.42", "0.43")):
            OrderBookSnapshot.objects.create(
                id=uuid4(),
                market=market,
                timestamp=NOON + n * MINUTE,
                bid_prices=[Decimal(price), Decimal("0.40")],
                bid_sizes=[Decimal(10), Decimal("2.5")],
                ask_prices=[],
                ask_sizes=[],
            )

    def test_is_the_newest_one(self, client, market):
        book = ok(client.get(at(market, "orderbook")))
        assert (book["ticker"], book["timestamp"]) == (market.ticker, "2026-11-20T12:01:00Z")
        assert book["bids"] == [
            {"price": "0.4300", "size": "10.00"},
            {"price": "0.4000", "size": "2.50"},
        ]
        assert book["asks"] == []

    def test_is_the_one_that_was_known_then(self, client, market):
        book = ok(client.get(at(market, "orderbook"), {"as_of": "2026-11-20T12:00:59Z"}))
        assert book["bids"][0]["price"] == "0.4200"

    def test_has_the_depth_that_is_asked_for(self, client, market):
        assert len(ok(client.get(at(market, "orderbook"), {"depth": "1"}))["bids"]) == 1

    def test_is_not_there_before_the_first(self, client, market):
        before = client.get(at(market, "orderbook"), {"as_of": "2026-11-20T11:00:00Z"})
        assert before.status_code == 404

    @pytest.mark.parametrize(
        ("query", "parameter"),
        [
            ({"depth": "0"}, "depth"),
            ({"depth": "1e1"}, "depth"),
            ({"depth": "1001"}, "depth"),
            ({"as_of": "2126-11-20T11:00:00Z"}, "as_of"),
            ({"as_of": "now"}, "as_of"),
        ],
    )
    def test_what_makes_no_sense_is_named(self, client, market, query, parameter):
        assert refused(client.get(at(market, "orderbook"), query)) == [parameter]


class TestCoverage:
    def test_tells_gaps_with_their_causes(self, client, market):
        now = datetime.now(UTC)
        a_poll(now - timedelta(hours=1))
        csv_rows = ok(client.get(at(market, "coverage")))
        assert csv_rows["start"].endswith("Z")
        gaps = [
            datetime.fromisoformat(gap["end"]) - datetime.fromisoformat(gap["start"])
            for gap in csv_rows["gaps"]
        ]
        window = datetime.fromisoformat(csv_rows["end"]) - datetime.fromisoformat(csv_rows["start"])
        missed = sum(gaps, timedelta()).total_seconds()
        assert csv_rows["observed"] + missed == pytest.approx(window.total_seconds())
        assert "our outage" in {gap["cause"] for gap in csv_rows["gaps"]}

    @pytest.mark.parametrize(
        ("query", "parameter"),
        [
            ({"start": "2026-01-01T00:00:00Z", "end": "2026-03-01T00:00:00Z"}, "start"),
            ({"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}, "end"),
            ({"start": "2099-01-02T00:00:00Z"}, "start"),
            ({"end": "soon"}, "end"),
        ],
    )
    def test_what_makes_no_window_is_named(self, client, market, query, parameter):
        assert refused(client.get(at(market, "coverage"), query)) == [parameter]

    def test_a_window_that_lies_ahead_is_empty(self, client, market):
        query = {"start": "2090-01-01T00:00:00Z", "end": "2090-01-02T00:00:00Z"}
        assert ok(client.get(at(market, "coverage"), query))["share"] is None


class TestNewest:
    def test_is_not_sent_again_to_who_has_it(self, client, market):
        now = datetime.now(UTC)
        snapshots(market, now)
        first = client.get(at(market, "latest"))
        assert first["Cache-Control"] == "no-cache"
        assert first["Last-Modified"] == http_date(int(now.timestamp()))
        again = client.get(at(market, "latest"), headers={"if-none-match": first["ETag"]})
        assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])
        since = client.get(
            at(market, "latest"), headers={"if-modified-since": first["Last-Modified"]}
        )
        assert since.status_code == 304

    def test_is_sent_when_there_is_news(self, client, market):
        snapshots(market, NOON)
        first = client.get(at(market, "latest"))
        snapshots(market, NOON + MINUTE)
        again = client.get(at(market, "latest"), headers={"if-none-match": first["ETag"]})
        assert ok(again)["timestamp"] == "2026-11-20T12:01:00Z"

    def test_holds_for_the_market_itself_too(self, client, market):
        address = f"/api/v1/markets/{market.ticker}/"
        first = client.get(address)
        assert (first.status_code, first["Cache-Control"]) == (200, "no-cache")
        known = {"if-none-match": first["ETag"]}
        assert client.get(address, headers=known).status_code == 304
        observe(market, datetime.now(UTC) + MINUTE, "0.50", "0.60")
        assert ok(client.get(address, headers=known))["yes_bid"] == "0.5000"

    def test_costs_as_many_queries_as_ever(self, client, market, django_assert_num_queries):
        snapshots(market, NOON, datetime.now(UTC))
        with django_assert_num_queries(5):
            ok(client.get(at(market, "latest")))
        with django_assert_num_queries(4):
            ok(client.get(f"/api/v1/markets/{market.ticker}/"))

    def test_takes_no_pages(self, client, market):
        snapshots(market, NOON)
        assert refused(client.get(at(market, "latest"), {"limit": "1"})) == ["limit"]


@pytest.mark.parametrize(
    "path",
    [
        "latest",
        "snapshots",
        "trades",
        "revisions",
        "candlesticks",
        "orderbook",
        "orderbooks",
        "coverage",
    ],
)
def test_an_unknown_market_is_a_404_that_names_it(client, path):
    response = client.get(f"/api/v1/markets/KXNONE/{path}/")
    assert response.status_code == 404
    assert "KXNONE" in response.json()["message"]


@pytest.mark.parametrize("path", ["snapshots", "trades", "revisions", "candlesticks"])
def test_a_browser_gets_a_page(client, market, path):
    page = client.get(at(market, path), headers={"accept": "text/html,*/*;q=0.8"})
    assert page.status_code == 200
    assert b"format=csv" in page.content


def test_a_browser_that_asks_wrongly_gets_a_page_too(client, market):
    indexes = {"start": "x"}
    page = client.get(at(market, "snapshots"), indexes, headers={"accept": "text/html"})
    assert (page.status_code, page["Content-Type"][:9]) == (400, "text/html")
