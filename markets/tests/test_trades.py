"""Public trades: exact, written once whoever tells them, by the day, kept and archived."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from markets import tasks
from markets.kalshi import payloads
from markets.kalshi.fields import Count, Price
from markets.models import ArchivedDay, DiskUsage, Trade, TradeOrigin
from markets.models.trades import SAME_TRADE_WITHIN, TakerSide, public_trade, trade_uuid
from markets.storage import archive, partitions, restore, retention
from markets.storage.manifest import ArchiveError
from markets.storage.partitions import TRADES, DayPartition
from markets.tests.factories import a_market, a_trade
from markets.tests.fake_tape import trade_json

NOW = datetime.now(UTC)
NOON = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
THAT_DAY = DayPartition(TRADES, NOON.date())
SECOND = timedelta(seconds=1)

pytestmark = pytest.mark.django_db


def a_payload(number=1, at=NOON, **changes):
    return payloads.TradePayload(
        **{
            "trade_id": str(UUID(int=number)),
            "ticker": "KXA-1-X",
            "count": Count("12.50"),
            "yes_price": Price("0.4200"),
            "taker_outcome_side": "yes",
            "taker_book_side": "bid",
            "created_time": at,
            "is_block_trade": False,
            **changes,
        }
    )


def record(market, *given, source=TradeOrigin.TAPE, at=NOW):
    with transaction.atomic():
        return Trade.objects.record(
            [public_trade(payload, market.pk, known_at=at) for payload in given],
            source=source,
            recorded_at=at,
        )


@given(
    contracts=st.integers(1, 10**18 - 1),
    price=st.integers(0, 10_000),
)
def test_price_and_count_are_kept_to_the_last_digit(contracts, price):
    count, yes_price = Decimal(contracts).scaleb(-2), Decimal(price).scaleb(-4)
    payload = a_payload(count=Count(count), yes_price=Price(yes_price))
    trade = public_trade(payload, 1)
    assert (trade.contracts, trade.price) == (contracts, price)
    stored = Trade(contracts=trade.contracts, price=trade.price)
    assert (stored.count, stored.yes_price) == (count, yes_price)


def test_the_api_shows_the_largest_count_exactly():
    market = a_market()
    a_trade(market, NOON, contracts=10**18 - 1, price=1)
    [row] = Trade.objects.rows(["count", "yes_price", "source"])
    assert (row["count"], row["yes_price"]) == (Decimal("9999999999999999.99"), Decimal("0.0001"))


def test_an_id_that_is_no_uuid_becomes_always_the_same_one():
    assert trade_uuid(str(UUID(int=7))) == UUID(int=7)
    assert trade_uuid("a row of a table") == trade_uuid("a row of a table") != trade_uuid("b")
    assert trade_uuid("a row of a table").version == 5


class TestOnce:
    def test_a_trade_that_comes_again_changes_nothing(self):
        market = a_market()
        assert record(market, a_payload(1), a_payload(2)).trades == 2
        again = record(market, a_payload(2), a_payload(3), source=TradeOrigin.BACKFILL)
        assert (again.trades, again.differing) == (1, [])
        first = Trade.objects.get(pk=UUID(int=2))
        assert (first.source, first.known_at) == ("TAPE", NOW)

    @pytest.mark.parametrize("by", [-0.25, 0.75, -2, 2])
    def test_another_source_may_tell_its_time_more_coarsely(self, by):
        market = a_market()
        record(market, a_payload(1))
        coarse = a_payload(1, NOON + by * SECOND)
        again = record(market, coarse, source=TradeOrigin.IMPORT)
        assert (again.trades, again.differing) == (0, [])
        assert Trade.objects.get().created_time == NOON

    def test_across_midnight_it_is_the_same_too(self):
        midnight = datetime(2026, 3, 2, tzinfo=UTC)
        market = a_market()
        partitions.create_missing(TRADES, [NOON.date(), midnight.date()])
        record(market, a_payload(1, midnight - SECOND / 4))
        assert record(market, a_payload(1, midnight)).trades == 0

    def test_beyond_the_tolerance_one_id_is_two_trades(self):
        market = a_market()
        record(market, a_payload(1))
        later = NOON + SAME_TRADE_WITHIN + timedelta(microseconds=1)
        assert record(market, a_payload(1, later)).trades == 1

    def test_a_page_that_has_it_twice_writes_it_once(self):
        assert record(a_market(), a_payload(1), a_payload(1)).trades == 1

    def test_it_is_written_while_a_partition_is_created(self):
        market = a_market()
        with closing(connection.copy()) as other, connection.cursor() as cursor:
            other.cursor().execute("SELECT pg_advisory_lock(hashtext(%s))", [TRADES])
            cursor.execute("SET LOCAL lock_timeout = '1s'")
            assert record(market, a_payload(1)).trades == 1

    def test_what_the_exchange_tells_otherwise_now_is_told_and_not_written(self):
        market = a_market()
        record(market, a_payload(1))
        told = record(market, a_payload(1, yes_price=Price("0.9")))
        assert (told.trades, told.differing) == (0, [(market.pk, NOON)])
        assert Trade.objects.get().price == 4200

    def test_a_price_above_a_dollar_is_refused_by_the_database(self):
        with pytest.raises(IntegrityError), transaction.atomic():
            a_trade(a_market(), NOON, price=10_001)


class TestByDay:
    def test_late_rows_move_into_their_day(self):
        a_trade(a_market(), NOON)
        assert partitions.days_without_partition([TRADES]) == [NOON.date()]
        report = retention.maintain(now=NOW)
        assert THAT_DAY in report.created
        assert partitions.days_without_partition() == []
        assert partitions.count_rows(THAT_DAY) == 1

    def test_a_closed_day_is_clustered_by_market(self):
        one, other = a_market(), a_market("KXSNOW-26NOV21")
        for n, market in enumerate((one, other, one, other)):
            a_trade(market, NOON + n * SECOND, f"{n}")
        partitions.create_missing(TRADES, [NOON.date()])
        partitions.cluster(THAT_DAY)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT market_id FROM {THAT_DAY.name}")
            assert [id for (id,) in cursor.fetchall()] == [one.pk, one.pk, other.pk, other.pk]
        assert partitions.is_clustered(THAT_DAY)

    def test_its_size_is_measured(self):
        a_trade(a_market(), NOON)
        assert DiskUsage.objects.measure(at=NOW).sizes[TRADES] > 0


class TestKept:
    @pytest.fixture(autouse=True)
    def archive_path(self, settings, tmp_path):
        settings.RETENTION_DAYS, settings.TRADE_RETENTION_DAYS = 0, 30
        settings.ARCHIVE_PATH = tmp_path

    def stored(self):
        return list(Trade.objects.order_by("pk").values())

    def test_a_day_comes_back_from_the_archive_equal(self):
        market = a_market()
        a_trade(market, NOON, "no uuid", is_block_trade=True, taker_side=None)
        values = {"known_at": NOON + SECOND, "source_code": TradeOrigin.TAPE}
        a_trade(market, NOON, "b", contracts=10**18 - 1, **values)
        partitions.create_missing(TRADES, [NOON.date()])
        before = self.stored()
        manifest = archive.archive_day(THAT_DAY, now=NOW, coverage=0.5)
        assert (manifest.rows, manifest.first_at, manifest.coverage) == (2, NOON, 0.5)
        assert retention.maintain(now=NOW).dropped == [THAT_DAY]
        assert self.stored() == []
        assert restore.restore_day(THAT_DAY, now=NOW) == (2, 2)
        assert self.stored() == before

    def test_trades_that_were_fetched_again_before_the_restore_stay_but_for_when_known(self):
        market = a_market()
        for name in ("a", "b"):
            a_trade(market, NOON, name, known_at=NOON + SECOND, source_code=TradeOrigin.TAPE)
        self.drop()
        a_trade(market, NOON.replace(microsecond=0), "a", recorded_at=NOW)
        assert restore.restore_day(THAT_DAY, now=NOW) == (2, 2)
        found = Trade.objects.oldest_first()
        assert list(found.values_list("trade_id", "source_code", "known_at", "recorded_at")) == [
            (trade_uuid("a"), TradeOrigin.BACKFILL, NOON + SECOND, NOON),
            (trade_uuid("b"), TradeOrigin.TAPE, NOON + SECOND, NOON),
        ]

    @pytest.mark.parametrize(
        "changes",
        [{"contracts": 151}, {"price": 1}, {"taker_side": None}, {"is_block_trade": True}],
    )
    def test_a_trade_that_another_contradicts_is_not_restored(self, changes):
        market = a_market()
        a_trade(market, NOON)
        self.drop()
        a_trade(market, NOON + SECOND, **changes)
        with pytest.raises(ArchiveError, match="1 of the archived rows are in the database"):
            restore.restore_day(THAT_DAY, now=NOW)
        assert Trade.objects.count() == 1

    def drop(self):
        partitions.create_missing(TRADES, [NOON.date()])
        archive.archive_day(THAT_DAY, now=NOW, coverage=0.5)
        assert retention.maintain(now=NOW).dropped == [THAT_DAY]

    def test_it_has_a_retention_of_its_own(self, settings):
        a_trade(a_market(), NOON)
        partitions.create_missing(TRADES, [NOON.date()])
        archive.archive_day(THAT_DAY, now=NOW)
        settings.RETENTION_DAYS, settings.TRADE_RETENTION_DAYS = 30, 0
        assert retention.maintain(now=NOW).dropped == []

    def test_the_archive_writes_itself_where_trades_are_dropped(self):
        a_trade(a_market(), NOON)
        partitions.create_missing(TRADES, [NOON.date()])
        tasks.archive_days()
        archived = ArchivedDay.objects.get(table=TRADES)
        assert (archived.rows, archived.coverage) == (1, 0)


def test_the_page_of_a_market_shows_its_newest_trades(client):
    market = a_market()
    a_trade(market, NOON, contracts=1250)
    a_trade(market, NOON + SECOND, "b", is_block_trade=True, taker_side=TakerSide.NO)
    address = market.get_absolute_url()
    assert ">block<" in client.get(address).text
    headers = {"HX-Request": "true", "HX-Target": "trades"}
    part = client.get(address, headers=headers)
    assert "12.5" in part.text
    assert part.text.index("12:00:01") < part.text.index("12:00:00")
    headers["If-None-Match"] = part.headers["ETag"]
    assert client.get(address, headers=headers).status_code == 304


def test_the_admin_lists_the_newest_first(admin_client):
    market = a_market()
    a_trade(market, NOON)
    a_trade(market, NOON + SECOND, "b")
    for words in ("", market.ticker.lower()):
        page = admin_client.get("/admin/markets/trade/", {"q": words})
        listed = [row.created_time for row in page.context["cl"].result_list]
        assert listed == [NOON + SECOND, NOON]


def test_a_payload_is_read_as_the_exchange_writes_it():
    raw = msgspec.json.encode(trade_json(5, NOON, is_block_trade=True))
    trade = public_trade(payloads.trade(raw), 7)
    assert (trade.trade_id, trade.market_id, trade.contracts) == (UUID(int=5), 7, 1250)
    assert (trade.created_time, trade.known_at, trade.is_block_trade) == (NOON, NOON, True)
