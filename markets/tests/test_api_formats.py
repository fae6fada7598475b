import csv
import io
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.db import connection
from model_bakery import baker

from backtests.tests.factories import a_backtest, a_fill
from kalshi_insights.export import postgres
from markets.kalshi.fields import Count, Price
from markets.kalshi.order_books import Level, OrderBook
from markets.models import Market, MarketRevision, MarketSnapshot, OrderBookSnapshot
from markets.models.order_books import ObservedOrderBook
from markets.tests.factories import a_market, a_snapshot, a_trade

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def market() -> Market:
    """With three snapshots, the last of which says a word that CSV and JSON must quote."""
    market = a_market()
    a_snapshot(market, NOON, yes_bid=Decimal("0.42"), volume=Decimal("10.5")).save()
    a_snapshot(market, NOON + SECOND, yes_bid=None, yes_ask=Decimal("0.0001")).save()
    strange = {"note": 'a "quoted", word\nand another'}
    a_snapshot(market, NOON + timedelta(microseconds=2_000_001), raw_data=strange).save()
    return market


def many(market: Market, count: int) -> None:
    MarketSnapshot.objects.bulk_create(
        a_snapshot(market, NOON - n * SECOND, yes_bid=Decimal("0.42")) for n in range(1, count + 1)
    )


def at(market: Market, path: str = "snapshots") -> str:
    return f"/api/v1/markets/{market.ticker}/{path}/"


def body(response) -> bytes:
    assert response.status_code == 200, response.content
    return b"".join(response.streaming_content)


def wait_until(condition, *, seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def as_csv(response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(body(response).decode(), newline="")))


class TestCsv:
    def test_says_what_json_says(self, client, market):
        response = client.get(at(market), {"format": "csv"})
        assert response["Content-Type"] == "text/csv"
        assert f"{market.ticker}-snapshots.csv" in response["Content-Disposition"]
        rows, json = as_csv(response), client.get(at(market)).json()["results"]
        assert list(rows[0]) == list(json[0])
        for row, shown in zip(rows, json, strict=True):
            shown["timestamp"] = row["timestamp"]  # the same instant, with six digits always
            shown["recorded_at"] = row["recorded_at"]
            raw = shown.pop("raw_data")
            assert (row.pop("raw_data") == "") == (raw is None)
            assert row == {name: "" if x is None else str(x) for name, x in shown.items()}

    @pytest.mark.parametrize("first", [*"=+-@\t\r\n", "\uff1d"])
    def test_text_that_a_spreadsheet_would_run_comes_after_an_apostrophe(self, client, first):
        run = a_backtest()
        a_fill(run, 1, reason=f"{first}1+cmd|' /C calc'!A0", cash_change=Decimal(-5))
        a_fill(run, 2, reason="3 = 3", cash_change=Decimal("0.5"))
        address = f"/api/v1/backtests/{run.pk}/executions/"
        formula, text = as_csv(client.get(address, {"format": "csv"}))
        assert formula["reason"] == f"'{first}1+cmd|' /C calc'!A0"
        assert (formula["cash_change"], text["cash_change"]) == ("-5.000000", "0.500000")
        assert text["reason"] == "3 = 3"
        table = pq.read_table(io.BytesIO(body(client.get(address, {"format": "parquet"}))))
        assert table["reason"][0].as_py() == f"{first}1+cmd|' /C calc'!A0"

    def test_writes_times_in_utc(self, client, market):
        times = [row["timestamp"] for row in as_csv(client.get(at(market), {"format": "csv"}))]
        assert times == [
            "2026-11-20T12:00:00.000000Z",
            "2026-11-20T12:00:01.000000Z",
            "2026-11-20T12:00:02.000001Z",
        ]

    def test_has_the_whole_range_and_nothing_else(self, client, market):
        many(market, 1_500)
        query = {"format": "csv", "end": NOON.isoformat()}
        assert len(as_csv(client.get(at(market), query))) == 1_500

    def test_is_cut_where_asked(self, client, market):
        many(market, 5)
        lines = as_csv(client.get(at(market), {"format": "csv", "limit": 2, "skip": 4}))
        assert [row["timestamp"][11:19] for row in lines] == ["11:59:59", "12:00:00"]

    def test_goes_on_after_a_cursor(self, client, market):
        page = client.get(at(market) + "?limit=2").json()
        [row] = as_csv(client.get(page["next"].replace("limit=2", "format=csv")))
        assert row["timestamp"].endswith(":02.000001Z")

    def test_without_rows_is_its_first_line(self, client, market):
        MarketSnapshot.objects.all().delete()
        assert body(client.get(at(market), {"format": "csv"})).startswith(b"id,ticker,timestamp,")


class TestParquet:
    def test_has_decimals_and_instants(self, client, market):
        content = body(client.get(at(market), {"format": "parquet"}))
        table = pq.read_table(io.BytesIO(content))
        assert table.schema.field("yes_bid").type == pa.decimal128(6, 4)
        assert table.schema.field("timestamp").type == pa.timestamp("us", tz="UTC")
        assert table["yes_bid"].to_pylist() == [Decimal("0.4200"), None, None]
        assert table["timestamp"].to_pylist()[2] == NOON + timedelta(microseconds=2_000_001)
        assert table["id"].to_pylist() == [
            str(each.pk) for each in market.snapshots.order_by("timestamp")
        ]

    def test_without_rows_has_its_columns(self, client, market):
        query = {"format": "parquet", "start": "2027-01-01T00:00:00Z"}
        table = pq.read_table(io.BytesIO(body(client.get(at(market), query))))
        assert (table.num_rows, "yes_bid" in table.column_names) == (0, True)

    def test_comes_in_pieces(self, client, market, monkeypatch):
        monkeypatch.setattr(postgres, "TABLE_BYTES", 1_000)
        many(market, 50)
        response = client.get(at(market), {"format": "parquet"})
        pieces = list(response.streaming_content)
        file = pq.ParquetFile(io.BytesIO(b"".join(pieces)))
        assert len(pieces) > 5
        assert (file.metadata.num_rows, file.num_row_groups) == (53, len(pieces) - 1)

    @pytest.mark.parametrize("form", ["parquet", "arrow", "csv"])
    def test_trades_and_revisions_are_files_too(self, client, market, form):
        a_trade(market, NOON, is_block_trade=True)
        baker.make(MarketRevision, market=market, known_at=NOON, price_ranges=[{"start": "0"}])
        for path in ("trades", "revisions", "candlesticks"):
            assert body(client.get(at(market, path), {"format": form}))

    def test_a_block_is_true(self, client, market):
        a_trade(market, NOON, is_block_trade=True)
        content = body(client.get(at(market, "trades"), {"format": "parquet"}))
        assert pq.read_table(io.BytesIO(content))["is_block_trade"].to_pylist() == [True]


def test_arrow_is_a_stream_of_the_same_rows(client, market):
    response = client.get(at(market), {"format": "arrow"})
    table = pa.ipc.open_stream(body(response)).read_all()
    file = body(client.get(at(market), {"format": "parquet"}))
    assert table.to_pylist() == pq.read_table(io.BytesIO(file)).to_pylist()


def test_candlesticks_in_a_file_say_what_json_says(client, market):
    query = {"start": "2026-11-20T12:00:00Z", "end": "2026-11-20T13:00:00Z"}
    shown = client.get(at(market, "candlesticks"), query).json()["results"]
    rows = as_csv(client.get(at(market, "candlesticks"), query | {"format": "csv"}))
    assert rows[0]["start"] == "2026-11-20T12:00:00.000000Z"
    for row, json in zip(rows, shown, strict=True):
        del row["start"], json["start"]
        assert row == {name: "" if x is None else str(x) for name, x in json.items()}


class TestColumns:
    def test_are_numbers(self, client, market):
        response = client.get(at(market), {"format": "columns"})
        columns = response.json()["columns"]
        assert columns["timestamp"] == [1795176000000, 1795176001000, 1795176002000]
        assert columns["yes_bid"] == [0.42, None, None]
        assert columns["volume"] == [10.5, None, None]
        assert response.json()["next"] is None

    def test_go_on_by_cursor(self, client, market):
        first = client.get(at(market), {"format": "columns", "limit": 2}).json()
        second = client.get(first["next"]).json()
        assert second["columns"]["timestamp"] == [1795176002000]

    def test_without_rows_are_empty(self, client, market):
        for path in ("snapshots", "candlesticks"):
            query = {"format": "columns", "start": "2027-01-01T00:00:00Z"}
            query |= {"end": "2027-01-01T00:10:00Z"}
            shown = client.get(at(market, path), query).json()
            assert (set(map(tuple, shown["columns"].values())), shown["next"]) == ({()}, None)

    def test_of_buckets_are_those_of_json(self, client, market):
        query = {"start": "2026-11-20T11:00:00Z", "end": "2026-11-20T13:00:00Z"}
        many(market, 200)
        rows = client.get(at(market, "candlesticks"), query).json()["results"]
        drawn = client.get(at(market, "candlesticks"), query | {"format": "columns"}).json()
        assert drawn["columns"]["snapshots"] == [row["snapshots"] for row in rows] != []
        highs = [row["yes_bid_high"] for row in rows]
        assert drawn["columns"]["yes_bid_high"] == [high and float(high) for high in highs]

    def test_hold_more_than_a_page(self, client, market):
        many(market, 1_100)
        columns = client.get(at(market), {"format": "columns"}).json()["columns"]
        assert len(columns["timestamp"]) == 1_103

    def test_have_an_end(self, client, market):
        refused = client.get(at(market), {"format": "columns", "limit": 100_001})
        assert list(refused.json()["details"]) == ["limit"]

    def test_revisions_have_none(self, client, market):
        refused = client.get(at(market, "revisions"), {"format": "columns"})
        assert (refused.status_code, list(refused.json()["details"])) == (400, ["format"])


def test_rows_that_cannot_be_are_an_empty_page(market):
    assert postgres.json(Market.objects.none().rows(["ticker"])) == []


def test_an_instant_in_json_has_six_digits_or_none(client, market):
    times = [row["timestamp"] for row in client.get(at(market)).json()["results"]]
    assert times == [
        "2026-11-20T12:00:00Z",
        "2026-11-20T12:00:01Z",
        "2026-11-20T12:00:02.000001Z",
    ]


class TestErrors:
    @pytest.mark.parametrize("form", ["csv", "parquet", "arrow", "columns"])
    def test_are_json_in_every_form(self, client, market, form):
        refused = client.get(at(market), {"format": form, "start": "x"})
        assert (refused.status_code, refused["Content-Type"]) == (400, "application/json")
        missing = client.get(f"/api/v1/markets/KXNONE/snapshots/?format={form}")
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")

    @pytest.mark.parametrize("form", ["xml", "", "CSV", "csv\0", "a" * 5_000])
    def test_an_unknown_form_is_named(self, client, market, form):
        refused = client.get(at(market), {"format": form})
        assert refused.status_code == 400
        assert list(refused.json()["details"]) == ["format"]

    def test_an_explicit_form_counts_more_than_what_is_accepted(self, client, market):
        response = client.get(at(market), {"format": "csv"}, headers={"accept": "application/json"})
        assert response["Content-Type"] == "text/csv"

    def test_a_form_may_be_asked_for_by_its_type(self, client, market):
        response = client.get(at(market), headers={"accept": "text/csv"})
        assert len(as_csv(response)) == 3


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("form", ["csv", "parquet", "arrow"])
def test_a_client_who_leaves_midway_leaves_nothing_behind(live_server, market, form):
    """More than fits into the buffers on the way, so that the server is still at work."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO markets_marketsnapshot
                (id, market_id, timestamp, recorded_at, source, quality, raw_data)
            SELECT gen_random_uuid(), %s, %s - n * interval '1 ms', now(), 'POLL', 0,
                to_jsonb((SELECT string_agg(md5(n::text || m), '') FROM generate_series(1, 60) m))
            FROM generate_series(1, 20000) AS n
            """,
            [market.pk, NOON],
        )
    address = f"{live_server.url}{at(market)}?format={form}"
    with httpx.stream("GET", address) as response:
        assert response.status_code == 200
        next(response.iter_raw(1_000))
        wait_until(lambda: copies_under_way() == 1)
    wait_until(lambda: copies_under_way() == 0)


def copies_under_way() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                AND pid <> pg_backend_pid() AND state <> 'idle' AND query LIKE 'COPY%'
            """
        )
        count: int = cursor.fetchone()[0]
    return count


def test_only_the_head_of_a_file_reads_no_rows(client, market, django_assert_num_queries):
    with django_assert_num_queries(1):
        head = client.head(at(market), {"format": "parquet"})
    assert head["Content-Type"] == "application/vnd.apache.parquet"


class TestListOfMarkets:
    ADDRESS = "/api/v1/markets/"

    @pytest.fixture(autouse=True)
    def markets(self):
        for number in (3, 1, 2):
            a_market(f"KXRAIN-26NOV20-T{number}", floor_strike=Decimal(f"{number}.0000005"))
        a_market("KXFED-26DEC-H25", status="closed")

    def test_a_file_has_all_that_a_query_finds_by_ticker(self, client):
        rows = as_csv(client.get(self.ADDRESS, {"format": "csv", "status": "open"}))
        assert [row["ticker"] for row in rows] == [f"KXRAIN-26NOV20-T{n}" for n in (1, 2, 3)]
        assert (rows[0]["floor_strike"], rows[0]["yes_bid"]) == ("1.0000005", "0.4200")

    def test_a_part_of_it_is_a_file_too(self, client):
        query = {"format": "csv", "limit": 1, "skip": 2}
        [row] = as_csv(client.get(self.ADDRESS, query))
        assert row["ticker"] == "KXRAIN-26NOV20-T2"

    def test_parquet_has_the_same_columns(self, client):
        content = body(client.get(self.ADDRESS, {"format": "parquet"}))
        table = pq.read_table(io.BytesIO(content))
        names = as_csv(client.get(self.ADDRESS, {"format": "csv"}))[0]
        assert (table.num_rows, table.column_names) == (4, list(names))

    @pytest.mark.parametrize("query", [{"as_of": NOON.isoformat()}, {"ordering": "-spread"}])
    def test_what_a_file_has_not_is_refused(self, client, query):
        answer = client.get(self.ADDRESS, {"format": "csv", **query})
        assert answer.status_code == 400
        assert list(answer.json()["details"]) == list(query)

    def test_pages_are_as_they_were(self, client):
        assert client.get(self.ADDRESS, {"limit": 2}).json()["count"] == 4
        assert client.get(self.ADDRESS, {"format": "columns"}).status_code == 400


def test_order_books_have_lists_of_decimals_in_json(client):
    market = a_market()
    books = [OrderBook(yes=(Level(Price(each), Count(10)),), no=()) for each in ("0.42", "0.4")]
    OrderBookSnapshot.objects.record(
        [ObservedOrderBook(market.pk, NOON + n * SECOND, book) for n, book in enumerate(books)]
    )
    page = client.get(at(market, "orderbooks"), {"limit": 1}).json()
    [first] = page["results"]
    assert (first["ticker"], first["bid_prices"], first["bid_sizes"], first["ask_prices"]) == (
        market.ticker, ["0.4200"], ["10.00"], [],
    )  # fmt: skip
    [second] = client.get(page["next"]).json()["results"]
    assert second["bid_prices"] == ["0.4000"]
