"""Lists go by columns of their own, which follow every write of a market."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from markets.models import ListedMarket, Market, MarketSnapshot, Source
from markets.models.fields import Quote
from markets.models.listed_markets import CONTRACT, DOLLAR, ORDERS
from markets.models.snapshots import Observation
from markets.tests.factories import a_market, an_event, dollars

pytestmark = pytest.mark.django_db

WITHOUT_QUOTE = dict.fromkeys((*Quote._fields, "volume_24h", "previous_price", "quoted_at"))


def times(number: Decimal | None, unit: int) -> Decimal | None:
    return None if number is None else number * unit


def assert_listed(ticker: str) -> None:
    """Check that a market is listed as its own row says."""
    market = Market.objects.select_related("event").get(ticker=ticker)
    listed = ListedMarket.objects.get(pk=market.pk)
    assert {field.attname: getattr(listed, field.attname) for field in listed._meta.fields} == {
        "market_id": market.pk,
        "event_id": market.event_id,
        "series_id": market.event.series_id,
        "ticker": market.ticker,
        "status": market.status,
        "close_time": market.close_time,
        "changed_at": max(filter(None, (market.quoted_at, market.recorded_at))),
        "volume_24h": times(market.volume_24h, CONTRACT),
        "open_interest": times(market.open_interest, CONTRACT),
        "yes_price": times(market.yes_price, DOLLAR),
        "spread": times(market.spread, DOLLAR),
        "change_24h": times(market.change_24h, DOLLAR),
    }


def observation(
    market: Market, *, bid: str | None = "0.31", ask: str | None = "0.35"
) -> Observation:
    sizes = (Decimal(10), Decimal("20.55"))
    return Observation(
        market.pk,
        datetime.now(UTC),
        Quote(dollars(bid), dollars(ask), *sizes, Decimal("0.3333"), Decimal(1), Decimal("7.25")),
        quality=0,
        volume_24h=Decimal("12345.67"),
        previous_price=Decimal("0.5"),
        quote_mark=1,
    )


class TestFollowing:
    def test_a_new_market_is_listed(self):
        a_market("KXA-1")
        a_market("KXA-2", **WITHOUT_QUOTE)
        assert_listed("KXA-1")
        assert_listed("KXA-2")

    @pytest.mark.parametrize("sides", [("0.31", "0.35"), (None, "0.35"), (None, None)])
    def test_a_recorded_quote_moves_it(self, sides):
        market = a_market("KXA-1")
        quoted = observation(market, bid=sides[0], ask=sides[1])
        MarketSnapshot.objects.record([quoted], source=Source.POLL, recorded_at=quoted.timestamp)
        assert_listed("KXA-1")
        assert ListedMarket.objects.get().volume_24h == 1234567

    def test_what_the_orm_writes_moves_it(self):
        market = a_market("KXA-1")
        market.status = "finalized"
        market.close_time = None
        market.save()
        assert_listed("KXA-1")
        Market.objects.update(yes_bid=None, open_interest=None)
        assert_listed("KXA-1")
        Market.objects.unlist(["KXA-1"], at=datetime.now(UTC))
        assert_listed("KXA-1")

    def test_a_market_that_moves_to_another_event_takes_that_event_s_series(self):
        market = a_market("KXA-1")
        market.event = an_event("Other", ticker="KXB", category="Sports")
        market.save()
        assert_listed("KXA-1")
        assert ListedMarket.objects.all().categories() == {"Sports": 1}

    def test_an_event_that_moves_to_another_series_takes_its_markets_along(self):
        event, other = an_event("One", ticker="KXA"), an_event("Other", ticker="KXB")
        a_market("KXA-1", event=event)
        a_market("KXB-1", event=other)
        event.series = other.series
        event.save()
        assert_listed("KXA-1")
        assert_listed("KXB-1")

    def test_a_deleted_market_is_listed_no_more(self):
        a_market("KXA-1").delete()
        assert not ListedMarket.objects.exists()

    @settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.dictionaries(
            st.sampled_from(["yes_bid", "yes_ask", "last_price", "previous_price"]),
            st.none() | st.decimals(0, 1, places=4),
        ),
        st.dictionaries(
            st.sampled_from(["volume_24h", "open_interest"]),
            st.none() | st.decimals(0, 10**14, places=2),
        ),
    )
    def test_whatever_is_quoted_is_listed_to_the_digit(self, prices, counts):
        market = Market.objects.first() or a_market("KXA-1")
        Market.objects.filter(pk=market.pk).update(**prices, **counts)
        assert_listed("KXA-1")


class TestReading:
    @pytest.fixture
    def seven(self):
        for n in range(7):
            price = {"yes_bid": Decimal(n % 3) / 10} if n else {"yes_bid": None}
            a_market(f"KXA-{n}", volume_24h=n % 2 or None, **price)

    @pytest.mark.usefixtures("seven")
    @pytest.mark.parametrize("key", [*ORDERS, *(f"-{key}" for key in ORDERS)])
    def test_pages_have_every_market_once_in_the_order_of_the_whole(self, key):
        ordered = ListedMarket.objects.all().ordered_by(key)
        whole = list(ordered.values_list("ticker", flat=True))
        assert len(whole) == 7
        for size in (1, 2, 3, 7):
            pages = [ordered.page(first=n, size=size, count=7) for n in range(0, 7, size)]
            assert [market.ticker for page in pages for market in page] == whole

    @pytest.mark.usefixtures("seven")
    @pytest.mark.parametrize("key", ["-volume_24h", "yes_price", "ticker"])
    def test_the_api_cuts_its_pages_from_the_same_order(self, client, key):
        def tickers(skip: int, limit: int) -> list[str]:
            query = {"ordering": key, "skip": skip, "limit": limit}
            body = client.get("/api/v1/markets/", query).json()
            assert body["count"] == 7
            assert (body["next"] is None) == (skip + limit >= 7)
            return [row["ticker"] for row in body["results"]]

        whole = tickers(0, 7)
        for limit in (1, 2, 3):
            assert [t for skip in range(0, 7, limit) for t in tickers(skip, limit)] == whole
        assert tickers(7, 3) == tickers(5_000, 3) == []

    @pytest.mark.parametrize("address", ["/markets/?status=all&page=3", "/api/v1/markets/?skip=1"])
    @pytest.mark.parametrize("query", ["", "&ordering=-volume_24h", "&q=rain", "&category=Climate"])
    def test_lists_do_not_read_the_wide_rows_of_other_markets(self, client, address, query):
        for n in range(3):
            a_market(f"KXA-{n}")
        with CaptureQueriesContext(connection) as queries:
            assert client.get(address + query).status_code == 200
        reading = [q["sql"] for q in queries if "markets_market" in q["sql"]]
        assert reading
        for sql in reading:
            if 'FROM "markets_market"' in sql:
                assert '"markets_market"."id" IN (' in sql
                ids = sql.partition('"markets_market"."id" IN (')[2]
                assert "SELECT" not in ids, "ids, and no query for them"

    def test_words_are_looked_up_in_an_index(self):
        with connection.cursor() as cursor:
            # A table of a few rows is quicker read as a whole.
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off")
        plan = ListedMarket.objects.search(["york", "rain"]).explain()
        assert "Bitmap Index Scan on marketsearchtext_trigrams" in plan
        assert "markets_fold" not in plan, "folded for every row"

    def test_a_market_s_short_texts_lie_in_its_row_and_its_long_ones_do_not(self):
        long_text = " ".join(f"{n * 7919 % 10007}" for n in range(700))
        texts = {
            "title": "Will it rain in New York on the 21st of November?",
            "yes_sub_title": "No",
        }
        a_market("KXRAIN-26NOV21-T0.5", rules_primary=long_text, raw_data={"a": long_text}, **texts)
        names = ("ticker", "title", "yes_sub_title", "no_sub_title", "rules_primary", "raw_data")
        chunks = ", ".join(f"pg_column_toast_chunk_id({name})" for name in names)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {chunks} FROM markets_market")
            outside = {name for name, chunk in zip(names, cursor.fetchone(), strict=True) if chunk}
        assert outside == {"rules_primary", "raw_data"}


def updates(table: str) -> tuple[int, int]:
    """Count the updates of a table, and those that touched no index."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT 1")
        cursor.execute(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = %s", [table]
        )
        total, hot = cursor.fetchone()
        return total, hot


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("table", ["markets_listedmarket", "markets_market"])
def test_a_quote_touches_no_index(table):
    markets: list[Any] = [a_market(f"KXA-{n}") for n in range(20)]
    before = updates(table)
    later = datetime.now(UTC) + timedelta(seconds=1)
    quotes = [observation(market)._replace(timestamp=later) for market in markets]
    with transaction.atomic():
        MarketSnapshot.objects.record(quotes, source=Source.POLL, recorded_at=later)
    after = updates(table)
    assert (after[0] - before[0], after[1] - before[1]) == (20, 20)
