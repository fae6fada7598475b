import resource
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from kalshi_insights.export import parquet
from markets import tasks
from markets.models import (
    ArchivedDay,
    Event,
    Market,
    MarketSnapshot,
    OrderBookSnapshot,
    PayloadBlock,
    Series,
)
from markets.models.snapshots import snapshot_id
from markets.storage import archive, day_files, layout, partitions, restore, retention
from markets.storage.columns import COLUMNS
from markets.storage.manifest import ArchiveError, sha256_of_file
from markets.storage.partitions import ORDER_BOOKS, SNAPSHOTS, DayPartition
from markets.tests.factories import a_market, a_snapshot

NOW = datetime.now(UTC)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LAST_INSTANT = datetime(2026, 3, 1, 23, 59, 59, 999999, tzinfo=UTC)
THAT_DAY = DayPartition(SNAPSHOTS, date(2026, 3, 1))
BOOKS = DayPartition(ORDER_BOOKS, date(2026, 3, 1))

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def archive_path(settings, tmp_path):
    settings.RETENTION_DAYS = 30
    settings.RAW_PAYLOAD_HOURS = 8760
    settings.ARCHIVE_PATH = tmp_path / "archive"
    return settings.ARCHIVE_PATH


@pytest.fixture
def market():
    """A market with snapshots at the day's first and last instants and with extreme values."""
    market = a_market(yes_sub_title='Rain, "heavy"\nor none')
    a_snapshot(market, partitions.midnight(THAT_DAY.day)).save()
    a_snapshot(
        market,
        NOON + timedelta(microseconds=1),
        yes_bid=Decimal("0.0001"),
        yes_ask=Decimal("1.0000"),
        yes_bid_size=Decimal("9999999999999999.99"),
        yes_ask_size=Decimal("0.00"),
        last_price=Decimal("0.4200"),
        volume=Decimal("0.01"),
        open_interest=Decimal("1234567.89"),
        sequence=2**62,
        quality=7,
        raw_data={"a": 'quoted "words", and\na line — é', "b": [None, {}]},
    ).save()
    a_snapshot(market, LAST_INSTANT, yes_bid=Decimal("0.3000")).save()
    partitions.create_missing(SNAPSHOTS, [THAT_DAY.day])
    return market


def a_book(market, at, *, bids=(), asks=()):
    OrderBookSnapshot.objects.create(
        id=snapshot_id(market.pk, at, "book", None, content=""),
        market=market,
        timestamp=at,
        bid_prices=[Decimal(price) for price, _ in bids],
        bid_sizes=[Decimal(size) for _, size in bids],
        ask_prices=[Decimal(price) for price, _ in asks],
        ask_sizes=[Decimal(size) for _, size in asks],
    )


def archive_it(partition=THAT_DAY):
    return archive.archive_day(partition, now=NOW)


def archive_and_drop(partition=THAT_DAY):
    """Archive the day and have retention drop it."""
    archive_it(partition)
    assert partition in retention.maintain(now=NOW).dropped


def stored_rows(model=MarketSnapshot):
    return list(model.objects.order_by("pk").values())


def file_contents(folder):
    """Read every file's bytes, by name."""
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestRoundTrip:
    def test_a_day_comes_back_equal_to_the_last_decimal(self, market):
        before = stored_rows()
        archive_and_drop()
        assert not MarketSnapshot.objects.exists()
        assert restore.restore_day(THAT_DAY, now=NOW) == (3, 3)
        assert stored_rows() == before
        assert THAT_DAY in partitions.partitions_of(SNAPSHOTS)

    def test_order_books_come_back_level_by_level(self, market):
        a_book(market, NOON, bids=[("0.4200", "10.00"), ("0.4100", "2.50")], asks=[("0.45", "1")])
        a_book(market, NOON + timedelta(seconds=1))
        a_book(market, NOON + timedelta(seconds=2), asks=[("0.9999", "9999999999999999.99")])
        partitions.create_missing(ORDER_BOOKS, [BOOKS.day])
        before = stored_rows(OrderBookSnapshot)
        archive_and_drop(BOOKS)
        restore.restore_day(BOOKS, now=NOW)
        assert stored_rows(OrderBookSnapshot) == before

    def test_a_day_comes_back_into_an_empty_database(self, market):
        before = stored_rows()
        archive_and_drop()
        for model in (ArchivedDay, Market, Event, Series):
            model.objects.all().delete()
        another = a_market("KXSNOW-26NOV21")
        restore.restore_day(THAT_DAY, now=NOW)

        back = Market.objects.exclude(pk=another.pk).get()
        kept = ("ticker", "yes_sub_title", "open_time", "close_time", "price_ranges", "status")
        assert [getattr(back, name) for name in kept] == [getattr(market, name) for name in kept]
        assert back.event.ticker == market.event.ticker
        assert back.event.series.ticker == market.event.series.ticker
        assert stored_rows() == [{**row, "market_id": back.pk} for row in before]
        assert ArchivedDay.objects.get().restored_at == NOW

    def test_rows_follow_a_market_whose_id_is_another_now(self, market):
        before = stored_rows()
        archive_and_drop()
        Market.objects.all().delete()
        moved = a_market(market.ticker, event=market.event)
        restore.restore_day(THAT_DAY, now=NOW)
        assert stored_rows() == [{**row, "market_id": moved.pk} for row in before]
        assert Market.objects.get() == moved

    def test_many_batches_come_back_in_order(self, market, monkeypatch):
        monkeypatch.setattr(parquet, "BATCH_BYTES", 200)
        for n in range(20):
            a_snapshot(market, NOON + timedelta(minutes=n)).save()
        before = stored_rows()
        archive_and_drop()
        assert pq.ParquetFile(layout.files_of(THAT_DAY).rows).num_row_groups > 5
        restore.restore_day(THAT_DAY, now=NOW)
        assert stored_rows() == before

    def test_a_day_put_back_is_not_dropped_at_once(self, market):
        archive_and_drop()
        restore.restore_day(THAT_DAY, now=NOW)
        assert retention.maintain(now=NOW).dropped == []
        assert ArchivedDay.objects.get().dropped_at is None


class TestArchiving:
    def test_the_manifest_says_what_is_in_the_file(self, market, archive_path):
        archive.archive_day(THAT_DAY, now=NOW, coverage=0.995)
        manifest = msgspec.json.decode(
            (archive_path / "manifests/snapshots/2026-03-01.json").read_bytes()
        )
        rows = archive_path / "tables/snapshots/day=2026-03-01/snapshots.parquet"
        assert manifest["table"] == SNAPSHOTS
        assert manifest["day"] == "2026-03-01"
        assert manifest["rows"] == 3
        assert manifest["first_at"] == "2026-03-01T00:00:00Z"
        assert manifest["last_at"] == "2026-03-01T23:59:59.999999Z"
        assert manifest["bytes"] == rows.stat().st_size
        assert manifest["sha256"] == sha256_of_file(rows)
        assert manifest["columns"]["yes_bid"] == "numeric(6,4)"
        assert manifest["schema_version"] == 1
        assert manifest["coverage"] == 0.995
        day = ArchivedDay.objects.get()
        assert (day.table, day.day, day.rows) == (SNAPSHOTS, THAT_DAY.day, 3)
        assert day.file == "tables/snapshots/day=2026-03-01/snapshots.parquet"
        assert (day.first_at, day.last_at) == (partitions.midnight(day.day), LAST_INSTANT)
        assert (day.sha256, day.verified_at, day.coverage) == (manifest["sha256"], NOW, 0.995)

    def test_the_file_is_for_others_to_read(self, market):
        archive_it()
        table = pq.read_table(layout.files_of(THAT_DAY).rows)
        assert table.schema.field("yes_bid").type == pa.decimal128(6, 4)
        assert table.schema.field("timestamp").type == pa.timestamp("us", tz="UTC")
        assert table["yes_bid"].to_pylist() == [None, Decimal("0.0001"), Decimal("0.3000")]
        assert table["timestamp"].to_pylist()[1] == NOON + timedelta(microseconds=1)
        metadata = pq.ParquetFile(layout.files_of(THAT_DAY).rows).metadata
        assert metadata.row_group(0).column(0).compression == "ZSTD"

    def test_every_table_has_the_columns_that_are_archived(self):
        for table, unarchived in ((SNAPSHOTS, set()), (ORDER_BOOKS, {"sequence"})):
            columns = COLUMNS[table].keys() | unarchived
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT * FROM {table} LIMIT 0")
                assert {column.name for column in cursor.description} == set(columns)

    def test_only_days_that_are_over_are_archived(self, market):
        a_snapshot(market, NOW).save()
        end = THAT_DAY.bounds[1]
        assert archive.days_to_archive([SNAPSHOTS], now=end + timedelta(minutes=59)) == []
        assert archive.days_to_archive([SNAPSHOTS], now=end + timedelta(minutes=60)) == [THAT_DAY]
        with pytest.raises(ArchiveError, match="must have ended at least an hour ago"):
            archive.archive_day(THAT_DAY, now=end)

    def test_rows_that_have_no_day_of_their_own_yet_are_archived_too(self, market):
        a_snapshot(market, NOON - timedelta(days=1)).save()
        before = DayPartition(SNAPSHOTS, date(2026, 2, 28))
        assert archive.days_to_archive([SNAPSHOTS], now=NOW) == [before, THAT_DAY]
        assert archive_it(before).rows == 1

    def test_a_day_is_archived_once_and_again_when_it_has_grown(self, market):
        archive_it()
        assert archive.days_to_archive([SNAPSHOTS], now=NOW) == []
        assert archive.days_to_archive([SNAPSHOTS], now=NOW, include_archived=True) == [THAT_DAY]
        a_snapshot(market, NOON).save()
        assert archive.days_to_archive([SNAPSHOTS], now=NOW) == [THAT_DAY]
        assert retention.maintain(now=NOW).dropped == []
        assert archive_it().rows == ArchivedDay.objects.get().rows == 4
        assert retention.maintain(now=NOW).dropped == [THAT_DAY]

    def test_an_archived_day_is_never_replaced_by_less(self, market):
        before = stored_rows()
        archive_and_drop()
        a_snapshot(market, NOON).save()
        assert archive.days_to_archive([SNAPSHOTS], now=NOW) == [THAT_DAY]
        with pytest.raises(ArchiveError, match="restore the day first"):
            archive_it()
        restore.restore_day(THAT_DAY, now=NOW)
        assert archive_it().rows == 4
        assert [row for row in stored_rows() if row["timestamp"] != NOON] == before

    def test_files_of_another_database_are_never_replaced_by_less(self, market, archive_path):
        archive_and_drop()
        ArchivedDay.objects.all().delete()
        before = file_contents(archive_path)
        a_snapshot(market, NOON).save()
        with pytest.raises(ArchiveError, match="3 in the archive, some of which would be lost"):
            archive_it()
        assert file_contents(archive_path) == before
        restore.restore_day(THAT_DAY, now=NOW)
        assert archive_it().rows == 4

    def test_two_runs_do_not_write_the_same_files(self, market):
        with day_files.archive_lock(), pytest.raises(ArchiveError, match="Another run"):
            archive_it()


class TestDamage:
    @pytest.mark.parametrize("part", ["rows", "markets"])
    def test_a_file_with_another_hash_is_refused_and_named(self, market, part):
        archive_and_drop()
        path = getattr(layout.files_of(THAT_DAY), part)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(ArchiveError, match="is damaged") as refusal:
            restore.restore_day(THAT_DAY, now=NOW)
        assert str(path) in str(refusal.value)
        assert not MarketSnapshot.objects.exists()
        assert THAT_DAY not in partitions.partitions_of(SNAPSHOTS)

    def test_a_file_and_manifest_exchanged_together_are_refused(self, market):
        archive_and_drop()
        ArchivedDay.objects.update(sha256="0" * 64)
        with pytest.raises(ArchiveError, match="not the file on record"):
            restore.restore_day(THAT_DAY, now=NOW)

    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            (b'"schema_version": 1', b'"schema_version": 2', "schema version 2"),
            (b"2026-03-01", b"2026-03-02", "belongs to another day"),
            (b"}", b"", "cannot be read"),
        ],
    )
    def test_a_manifest_that_does_not_fit_is_refused(self, market, old, new, reason):
        archive_and_drop()
        path = layout.files_of(THAT_DAY).manifest
        path.write_bytes(path.read_bytes().replace(old, new))
        with pytest.raises(ArchiveError, match=reason):
            restore.restore_day(THAT_DAY, now=NOW)

    def test_rows_of_a_market_that_the_files_lack_are_not_left_out(self, market):
        archive_and_drop()
        files = layout.files_of(THAT_DAY)
        pq.write_table(pq.read_table(files.markets).slice(0, 0), files.markets)
        manifest = msgspec.json.decode(files.manifest.read_bytes())
        manifest["markets"]["sha256"] = sha256_of_file(files.markets)
        files.manifest.write_bytes(msgspec.json.encode(manifest))
        with pytest.raises(ArchiveError, match="3 of its rows are of markets that its files do"):
            restore.restore_day(THAT_DAY, now=NOW)
        assert not MarketSnapshot.objects.exists()

    def test_a_day_that_is_not_in_the_archive_is_refused(self):
        with pytest.raises(ArchiveError, match="no such day"):
            restore.restore_day(THAT_DAY, now=NOW)

    def test_rows_that_differ_in_the_database_are_left_alone(self, market):
        archive_it()
        MarketSnapshot.objects.filter(timestamp=LAST_INSTANT).update(yes_bid="0.3100")
        before = stored_rows()
        with pytest.raises(ArchiveError, match="1 of the archived rows are in the database"):
            restore.restore_day(THAT_DAY, now=NOW)
        assert stored_rows() == before

    def test_only_the_missing_rows_are_put_back(self, market):
        before = stored_rows()
        archive_it()
        MarketSnapshot.objects.filter(timestamp=LAST_INSTANT).delete()
        assert restore.restore_day(THAT_DAY, now=NOW) == (3, 1)
        assert restore.restore_day(THAT_DAY, now=NOW) == (3, 0)
        assert stored_rows() == before

    def test_a_file_that_reads_back_otherwise_is_not_kept(self, market, archive_path, monkeypatch):
        stored = {**parquet.ARROW_TYPES, "numeric(18,2)": pa.decimal128(20, 3)}
        monkeypatch.setattr(parquet, "ARROW_TYPES", stored)
        with pytest.raises(ArchiveError, match="reads back differently"):
            archive_it()
        assert list(file_contents(archive_path)) == [".lock"]
        assert not ArchivedDay.objects.exists()


@contextmanager
def a_full_disk():
    """Limit the files of this process to 4,000 bytes, which is less than a day takes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


class TestInterruption:
    def test_a_disk_that_fills_up_leaves_nothing_behind(self, market, archive_path):
        with a_full_disk(), pytest.raises(CommandError, match="File too large"):
            call_command("archive")
        assert list(file_contents(archive_path)) == [".lock"]
        assert not ArchivedDay.objects.exists()
        assert retention.maintain(now=NOW).kept == {THAT_DAY: "not archived"}
        call_command("archive")
        assert ArchivedDay.objects.get().rows == 3

    def test_a_day_archived_before_outlives_a_failing_attempt(self, market, archive_path):
        archive_it()
        before = file_contents(archive_path)
        a_snapshot(market, NOON).save()
        with a_full_disk(), pytest.raises(ArchiveError):
            archive_it()
        assert file_contents(archive_path) == before
        assert restore.restore_day(THAT_DAY, now=NOW).archived == 3

    def test_a_database_that_fails_leaves_nothing_behind(self, market, archive_path, monkeypatch):
        monkeypatch.setattr(
            day_files,
            "ROWS_QUERY",
            day_files.ROWS_QUERY.replace("ORDER", "AND 1 / (quality - 7) < 1 ORDER"),
        )
        with pytest.raises(ArchiveError, match="division by zero"), transaction.atomic():
            archive_it()
        assert list(file_contents(archive_path)) == [".lock"]

    def test_what_a_killed_run_left_is_replaced(self, market, archive_path):
        (archive_path / ".partial").mkdir(parents=True)
        (archive_path / ".partial" / "rows").write_bytes(b"half of it")
        archive_it()
        assert not (archive_path / ".partial").exists()
        assert restore.restore_day(THAT_DAY, now=NOW) == (3, 0)


class TestCommands:
    def test_archive_writes_what_is_due_and_says_so(self, market, capsys):
        a_book(market, NOON)
        call_command("archive")
        lines = capsys.readouterr().out.splitlines()
        assert [line.partition(",")[0] for line in lines] == [
            f"{SNAPSHOTS} 2026-03-01: 3 rows",
            f"{ORDER_BOOKS} 2026-03-01: 1 rows",
        ]
        call_command("archive")
        assert capsys.readouterr().out == "Nothing to do.\n"

    def test_one_day_and_one_table_can_be_asked_for(self, market):
        a_snapshot(market, NOON - timedelta(days=1)).save()
        a_book(market, NOON)
        call_command("archive", "--day", "2026-03-01", "--table", SNAPSHOTS)
        assert [(day.table, day.day) for day in ArchivedDay.objects.all()] == [THAT_DAY]

    def test_a_day_without_rows_cannot_be_archived(self):
        with pytest.raises(CommandError, match="nothing was recorded that day"):
            call_command("archive", "--day", "2026-03-01")

    def test_a_day_comes_back_by_command(self, market, capsys):
        archive_and_drop()
        call_command("restorearchive", "2026-03-01")
        call_command("restorearchive", "2026-03-01")
        assert capsys.readouterr().out == (
            f"{SNAPSHOTS} 2026-03-01: 3 rows restored\n"
            f"{SNAPSHOTS} 2026-03-01: all 3 rows were in the database already\n"
        )

    def test_a_day_that_cannot_come_back_is_an_error(self, market):
        with pytest.raises(CommandError, match="2026-03-01 is not in the archive"):
            call_command("restorearchive", "2026-03-01")
        archive_it()
        layout.files_of(THAT_DAY).rows.write_bytes(b"something else")
        with pytest.raises(CommandError, match="damaged"):
            call_command("restorearchive", "2026-03-01")

    def test_raw_payloads_are_not_archived(self):
        with pytest.raises(CommandError, match="invalid choice"):
            call_command("archive", "--table", PayloadBlock._meta.db_table)


def test_the_archive_writes_itself_only_where_retention_wants_it(settings, market):
    settings.RETENTION_DAYS = 0
    tasks.archive_days()
    assert not ArchivedDay.objects.exists()
    settings.RETENTION_DAYS = 30
    settings.RAW_PAYLOAD_HOURS = 8760
    tasks.archive_days()
    assert ArchivedDay.objects.get(table=SNAPSHOTS, day=THAT_DAY.day).rows == 3


def test_a_simulated_day_is_not_put_among_real_ones(settings, market):
    settings.SIMULATED = True
    archive_it()
    settings.SIMULATED = False
    with pytest.raises(CommandError, match="simulated"):
        call_command("restorearchive", f"{THAT_DAY.day}")
