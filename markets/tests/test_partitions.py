import hashlib
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import structlog
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.urls import reverse
from model_bakery import baker

from markets.models import ArchivedDay, Market, MarketSnapshot, OrderBookSnapshot
from markets.models.snapshots import snapshot_id
from markets.storage import archive, day_files, layout, partitions, retention
from markets.storage.manifest import ArchivedFile, Manifest
from markets.storage.partitions import ORDER_BOOKS, SNAPSHOTS, DayPartition, TableBusy
from markets.tests.factories import a_market, a_snapshot

NOW = datetime.now(UTC)
LONG_AGO = datetime(2026, 3, 1, 12, tzinfo=UTC)
THAT_DAY = DayPartition(SNAPSHOTS, LONG_AGO.date())


@pytest.fixture(autouse=True)
def keep_everything(settings, tmp_path):
    settings.RETENTION_DAYS = 0
    settings.RAW_PAYLOAD_HOURS = 8760
    settings.ARCHIVE_PATH = tmp_path


@pytest.fixture
def own_database(transactional_db):
    """A database for several transactions; the partitions they create are dropped afterwards."""
    before = {table: set(partitions.partitions_of(table)) for table in partitions.TABLES}
    yield
    for table, existing in before.items():
        for partition in set(partitions.partitions_of(table)) - existing:
            partitions.drop(partition, str)


def rows_in_default(table=SNAPSHOTS):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}_default")
        return cursor.fetchone()[0]


def rows_in(partition):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {partition.name}")
        return cursor.fetchone()[0]


def observe_market(at=LONG_AGO, rows=3, market=None):
    """Store snapshots of a market a second apart, and return the market."""
    market = market or a_market()
    for n in range(rows):
        a_snapshot(market, at + timedelta(seconds=n), yes_bid="0.4200").save()
    return market


def mark_archived(partition, rows, **others):
    """Write a day's three files and its entry; retention looks at their hashes alone."""
    digest = hashlib.sha256(b"rows").hexdigest()
    files = layout.files_of(partition)
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
    files.rows.write_bytes(b"rows")
    files.markets.write_bytes(b"rows")
    content = {"rows": rows, "bytes": 4, "sha256": digest, "content_sha256": digest}
    manifest = Manifest(
        **content,
        table=partition.table,
        day=partition.day,
        first_at=None,
        last_at=None,
        coverage=None,
        schema_version=day_files.SCHEMA_VERSION,
        columns={},
        markets=ArchivedFile(**content),
        written_at=NOW,
        simulated=False,
    )
    files.manifest.write_bytes(msgspec.json.encode(manifest))
    return baker.make(
        ArchivedDay,
        table=partition.table,
        day=partition.day,
        file=layout.name_within(files.rows),
        rows=rows,
        verified_at=NOW,
        sha256=digest,
        **others,
    )


@pytest.mark.django_db
class TestCreating:
    def test_days_are_there_before_they_begin(self):
        later = NOW + timedelta(days=30)
        report = retention.maintain(now=later)
        for table in partitions.TABLES:
            days = {partition.day for partition in partitions.partitions_of(table)}
            assert {later.date() + timedelta(days=n) for n in range(8)} <= days
        assert len(report.created) == len(partitions.TABLES) * 8
        assert retention.maintain(now=later).created == []

    def test_a_row_whose_day_is_missing_is_kept_and_gets_its_day(self):
        market = observe_market(LONG_AGO)
        observed_later = LONG_AGO + timedelta(days=2)
        a_snapshot(market, observed_later).save()
        before = list(MarketSnapshot.objects.values())
        assert rows_in_default() == 4

        with structlog.testing.capture_logs() as logs:
            report = retention.maintain(now=NOW)

        assert report.late == [THAT_DAY, DayPartition(SNAPSHOTS, observed_later.date())]
        assert [(log["event"], log["log_level"]) for log in logs] == [
            ("partitions_missing", "warning")
        ]
        assert rows_in_default() == 0
        assert rows_in(THAT_DAY) == 3
        assert list(MarketSnapshot.objects.values()) == before
        assert retention.maintain(now=NOW).late == []

    def test_a_snapshot_is_on_record_once_before_and_after_its_day_is_created(self):
        market = observe_market(LONG_AGO, rows=1)
        for _ in ("in the default partition", "in its day"):
            same = a_snapshot(market, LONG_AGO, yes_bid="0.4200")
            with pytest.raises(IntegrityError), transaction.atomic():
                same.save(force_insert=True)
            same.id = snapshot_id(market.pk, LONG_AGO, "other", None, content="")
            with pytest.raises(IntegrityError, match="market_id_timestamp"), transaction.atomic():
                same.save(force_insert=True)
            partitions.create_missing(SNAPSHOTS, [LONG_AGO.date()])

    def test_a_new_day_has_what_the_others_have(self):
        partitions.create_missing(SNAPSHOTS, [LONG_AGO.date()])
        today = DayPartition(SNAPSHOTS, NOW.date())
        assert structure(THAT_DAY) == structure(today)
        assert len(structure(today)) >= 8

    def test_a_row_of_an_unknown_market_is_refused(self):
        partitions.create_missing(SNAPSHOTS, [LONG_AGO.date()])
        market = a_market()
        stray = a_snapshot(market, LONG_AGO)
        stray.market_id = market.pk + 1
        with pytest.raises(IntegrityError), transaction.atomic():
            stray.save()

    def test_the_command_reports_what_it_did(self, capsys):
        observe_market(LONG_AGO)
        call_command("maintainpartitions")
        assert capsys.readouterr().out == (
            f"found rows without a partition: {SNAPSHOTS} 2026-03-01\n"
            f"created {SNAPSHOTS} 2026-03-01\nclustered {SNAPSHOTS} 2026-03-01\n"
        )
        call_command("maintainpartitions")
        assert capsys.readouterr().out == "Nothing to do.\n"


def structure(partition):
    """List its constraints and indexes, without their names."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT pg_get_constraintdef(oid) FROM pg_constraint
               WHERE conrelid = %(name)s::regclass
               UNION ALL SELECT regexp_replace(indexdef, '^.* USING', '') FROM pg_indexes
               WHERE tablename = %(name)s ORDER BY 1""",
            {"name": partition.name},
        )
        return [row[0] for row in cursor.fetchall()]


def physical_order(partition):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT market_id, timestamp FROM {partition.name} ORDER BY ctid")
        return cursor.fetchall()


@pytest.mark.django_db
class TestClustering:
    def test_a_closed_day_is_clustered_by_market_and_otherwise_unchanged(self):
        partitions.create_missing(SNAPSHOTS, [THAT_DAY.day])
        first, second = (
            observe_market(LONG_AGO),
            observe_market(LONG_AGO, market=a_market("KXSNOW")),
        )
        for market in (second, first):
            a_snapshot(market, LONG_AGO + timedelta(minutes=1)).save()
        before, created = list(MarketSnapshot.objects.oldest_first().values()), structure(THAT_DAY)

        assert retention.maintain(now=NOW).clustered == [THAT_DAY]

        assert physical_order(THAT_DAY) == sorted(physical_order(THAT_DAY))
        assert list(MarketSnapshot.objects.oldest_first().values()) == before
        assert structure(THAT_DAY) == created
        with pytest.raises(IntegrityError), transaction.atomic():
            a_snapshot(first, LONG_AGO, yes_bid="0.4200").save(force_insert=True)

    def test_it_is_done_once_and_not_before_the_day_is_over(self):
        observe_market(LONG_AGO)
        an_hour_later = THAT_DAY.bounds[1] + timedelta(hours=1)
        assert retention.maintain(now=an_hour_later - timedelta(seconds=1)).clustered == []
        assert retention.maintain(now=an_hour_later).clustered == [THAT_DAY]
        assert retention.maintain(now=an_hour_later).clustered == []

    def test_a_clustered_day_takes_late_rows_and_can_be_dropped(self):
        market = observe_market(LONG_AGO)
        retention.maintain(now=NOW)
        a_snapshot(market, LONG_AGO - timedelta(hours=1)).save()
        assert rows_in(THAT_DAY) == 4
        assert partitions.drop(THAT_DAY, str) == ""
        assert THAT_DAY not in partitions.partitions_of(SNAPSHOTS)

    def test_the_leftovers_of_a_killed_run_do_not_matter(self):
        observe_market(LONG_AGO)
        with connection.cursor() as cursor:
            cursor.execute(
                f"CREATE TABLE {THAT_DAY.name}_new (market_id bigint REFERENCES markets_market)"
            )
        assert retention.maintain(now=NOW).clustered == [THAT_DAY]
        assert rows_in(THAT_DAY) == 3

    def test_many_days_are_clustered_in_several_runs_the_newest_first(self, monkeypatch):
        monkeypatch.setattr(retention, "CLUSTERING_BUDGET", 0)
        market = observe_market(LONG_AGO)
        assert retention.maintain(now=NOW).clustered == []
        monkeypatch.undo()
        observe_market(LONG_AGO - timedelta(days=1), market=market)
        before = DayPartition(SNAPSHOTS, THAT_DAY.day - timedelta(days=1))
        assert retention.maintain(now=NOW).clustered == [THAT_DAY, before]


@pytest.mark.django_db
class TestReading:
    def test_the_model_reads_across_days(self):
        partitions.create_missing(SNAPSHOTS, [LONG_AGO.date()])
        market = observe_market(LONG_AGO)
        a_snapshot(market, NOW).save()
        assert [each.timestamp for each in market.snapshots.all()][-1] == NOW
        assert MarketSnapshot.objects.get(pk=a_snapshot(market, NOW).pk).timestamp == NOW
        assert MarketSnapshot.objects.between(LONG_AGO, NOW).count() == 3

    def test_the_admin_lists_them(self, admin_client):
        observe_market(NOW)
        page = admin_client.get(reverse("admin:markets_marketsnapshot_changelist"))
        assert page.status_code == 200
        assert page.context["cl"].result_count == 3


@pytest.mark.django_db
class TestRetention:
    @pytest.fixture(autouse=True)
    def thirty_days(self, settings):
        settings.RETENTION_DAYS = 30

    def test_a_day_that_is_archived_is_dropped(self):
        observe_market(LONG_AGO)
        day = mark_archived(THAT_DAY, 3)
        report = retention.maintain(now=NOW)
        assert report.dropped == [THAT_DAY]
        day.refresh_from_db()
        assert day.dropped_at == NOW
        assert not MarketSnapshot.objects.exists()
        assert retention.maintain(now=NOW).dropped == []

    def test_without_a_retention_nothing_is_dropped(self, settings):
        settings.RETENTION_DAYS = 0
        observe_market(LONG_AGO)
        mark_archived(THAT_DAY, 3)
        assert retention.maintain(now=NOW).dropped == []

    def test_a_day_is_kept_until_the_very_last_of_it_is_old_enough(self):
        observe_market(LONG_AGO)
        mark_archived(THAT_DAY, 3)
        old_enough = datetime(2026, 4, 1, tzinfo=UTC)
        assert retention.maintain(now=old_enough - timedelta(seconds=1)).dropped == []
        assert retention.maintain(now=old_enough).dropped == [THAT_DAY]

    def test_a_day_that_is_not_archived_is_kept(self):
        observe_market(LONG_AGO)
        assert retention.maintain(now=NOW).kept == {THAT_DAY: "not archived"}

    def test_a_day_that_has_grown_since_is_kept(self):
        observe_market(LONG_AGO)
        mark_archived(THAT_DAY, 2)
        assert "3 rows, and 2 in the archive" in retention.maintain(now=NOW).kept[THAT_DAY]

    @pytest.mark.parametrize("part", ["rows", "markets", "manifest"])
    @pytest.mark.parametrize("damage", [b"other rows", None])
    def test_a_day_whose_files_are_gone_or_damaged_is_kept(self, part, damage):
        observe_market(LONG_AGO)
        mark_archived(THAT_DAY, 3)
        path = getattr(layout.files_of(THAT_DAY), part)
        if damage:
            path.write_bytes(damage)
        else:
            path.unlink()
        assert (
            "missing, damaged or not those on record: tables/snapshots/"
            in retention.maintain(now=NOW).kept[THAT_DAY]
        )
        assert MarketSnapshot.objects.count() == 3

    def test_rows_that_come_to_a_day_dropped_before_are_kept(self):
        observe_market(LONG_AGO)
        mark_archived(THAT_DAY, 3, dropped_at=NOW)
        assert "restore it" in retention.maintain(now=NOW).kept[THAT_DAY]
        assert MarketSnapshot.objects.count() == 3

    def test_a_day_put_back_is_kept_for_as_long_again(self):
        observe_market(LONG_AGO)
        mark_archived(THAT_DAY, 3, restored_at=NOW - timedelta(days=29))
        assert retention.maintain(now=NOW).dropped == []
        assert retention.maintain(now=NOW + timedelta(days=1)).dropped == [THAT_DAY]

    def test_order_books_have_days_of_their_own(self):
        market = a_market()
        books = DayPartition(ORDER_BOOKS, LONG_AGO.date())
        baker.make(
            OrderBookSnapshot,
            id=snapshot_id(market.pk, LONG_AGO, "book", None, content=""),
            market=market,
            timestamp=LONG_AGO,
            bid_prices=[],
            bid_sizes=[],
            ask_prices=[],
            ask_sizes=[],
        )
        mark_archived(THAT_DAY, 1)
        assert retention.maintain(now=NOW).kept == {books: "not archived"}


def write_like_a_tick(market, *, begun, go_on, at):
    """Lock a market's row and write its snapshot a while later, as a tick does."""
    try:
        with transaction.atomic():
            type(market).objects.filter(pk=market.pk).update(volume=1)
            begun.set()
            assert go_on.wait(10)
            a_snapshot(market, at).save()
    finally:
        connection.close()


@contextmanager
def a_reading_session(model=MarketSnapshot):
    """Another session in the middle of a transaction that has read rows of this model."""
    reading, done = threading.Event(), threading.Event()

    def read():
        with transaction.atomic():
            model.objects.count()
            reading.set()
            done.wait(10)
        connection.close()

    reader = threading.Thread(target=read)
    reader.start()
    assert reading.wait(10)
    try:
        yield
    finally:
        done.set()
        reader.join(10)


class TestBesideAWriter:
    @pytest.fixture
    def market(self, own_database):
        return observe_market(LONG_AGO)

    def test_a_day_is_created_as_soon_as_a_tick_has_written(self, market):
        begun, go_on = threading.Event(), threading.Event()
        writer = threading.Thread(
            target=write_like_a_tick,
            args=[market],
            kwargs={"begun": begun, "go_on": go_on, "at": LONG_AGO + timedelta(hours=1)},
        )
        writer.start()
        assert begun.wait(10)
        # By then the first attempt has failed, and it has left no lock that the writer meets.
        threading.Timer(0.3, go_on.set).start()
        report = retention.maintain(now=NOW)
        writer.join(10)
        assert (report.created, report.busy) == ([THAT_DAY], [])
        assert MarketSnapshot.objects.count() == rows_in(THAT_DAY) == 4

    def test_a_table_in_use_all_the_while_is_left_for_the_next_time(self, market, monkeypatch):
        monkeypatch.setattr(partitions, "LOCK_TIMEOUT", 0.1)
        begun, go_on = threading.Event(), threading.Event()
        writer = threading.Thread(
            target=write_like_a_tick,
            args=[market],
            kwargs={"begun": begun, "go_on": go_on, "at": NOW},
        )
        writer.start()
        assert begun.wait(10)
        try:
            report = retention.maintain(now=NOW)
            assert report.busy == [THAT_DAY]
        finally:
            go_on.set()
            writer.join(10)
        assert rows_in_default() == 3
        assert retention.maintain(now=NOW).created == [THAT_DAY]

    def test_rows_that_arrive_while_a_day_is_copied_are_moved_too(self, market, monkeypatch):
        def another():
            try:
                a_snapshot(market, LONG_AGO + timedelta(hours=2)).save()
            finally:
                connection.close()

        # A row arrives after the copy, just before the table is locked.
        arrival = threading.Thread(target=another)
        attach = partitions._move_and_attach

        def attach_late(partition):
            arrival.start()
            arrival.join(10)
            attach(partition)

        monkeypatch.setattr(partitions, "_move_and_attach", attach_late)
        partitions.create_missing(SNAPSHOTS, [LONG_AGO.date()])
        assert rows_in(THAT_DAY) == MarketSnapshot.objects.count() == 4

    def test_two_processes_create_the_same_day_once(self, own_database):
        created = []

        def make():
            try:
                created.extend(partitions.create_missing(SNAPSHOTS, [LONG_AGO.date()]))
            finally:
                connection.close()

        both = [threading.Thread(target=make) for _ in range(2)]
        for each in both:
            each.start()
        for each in both:
            each.join(20)
        assert created == [THAT_DAY]

    def test_nobody_adds_rows_to_a_day_between_its_check_and_its_drop(self, market, monkeypatch):
        partitions.create_missing(SNAPSHOTS, [LONG_AGO.date()])
        monkeypatch.setattr(partitions, "LOCK_TIMEOUT", 0.1)
        begun, go_on = threading.Event(), threading.Event()
        go_on.set()
        late = LONG_AGO + timedelta(hours=3)

        def check():
            writer.start()
            assert begun.wait(10)
            writer.join(0.3)
            assert writer.is_alive()
            return "kept after all"

        writer = threading.Thread(
            target=write_like_a_tick,
            args=[market],
            kwargs={"begun": begun, "go_on": go_on, "at": late},
        )
        assert partitions.drop(THAT_DAY, check) == "kept after all"
        writer.join(10)
        assert MarketSnapshot.objects.filter(timestamp=late).exists()

    def test_dropping_gives_up_where_somebody_reads_all_the_while(self, market, monkeypatch):
        partitions.create_missing(SNAPSHOTS, [LONG_AGO.date()])
        monkeypatch.setattr(partitions, "LOCK_TIMEOUT", 0.1)
        with a_reading_session(), pytest.raises(TableBusy):
            partitions.drop(THAT_DAY, str)
        assert rows_in(THAT_DAY) == 3

    def test_a_day_whose_table_is_in_use_all_the_while_is_restored_the_next_time(
        self, market, monkeypatch
    ):
        partitions.create_missing(SNAPSHOTS, [LONG_AGO.date()])
        archive.archive_day(THAT_DAY, now=NOW)
        partitions.drop(THAT_DAY, str)
        monkeypatch.setattr(partitions, "LOCK_TIMEOUT", 0.1)
        with (
            a_reading_session(),
            pytest.raises(CommandError, match=r"in use by another process\. Please run"),
        ):
            call_command("restorearchive", "2026-03-01")
        call_command("restorearchive", "2026-03-01")
        assert rows_in(THAT_DAY) == 3

    def test_a_day_that_is_written_to_while_it_is_clustered_keeps_all_rows(
        self, market, monkeypatch
    ):
        partitions.create_missing(SNAPSHOTS, [THAT_DAY.day])
        add_foreign_key = partitions._add_foreign_key

        def add_foreign_key_late(copy):
            monkeypatch.undo()
            writer = threading.Thread(target=write)
            writer.start()
            writer.join(10)
            add_foreign_key(copy)

        def write():
            a_snapshot(market, LONG_AGO - timedelta(hours=3)).save()
            connection.close()

        monkeypatch.setattr(partitions, "_add_foreign_key", add_foreign_key_late)
        report = retention.maintain(now=NOW)
        assert (report.clustered, report.busy) == ([], [THAT_DAY])
        assert rows_in(THAT_DAY) == 4
        assert f"{THAT_DAY.name}_new" not in connection.introspection.table_names()
        assert retention.maintain(now=NOW).clustered == [THAT_DAY]
        assert rows_in(THAT_DAY) == 4

    @pytest.mark.parametrize("model", [MarketSnapshot, Market])
    def test_a_day_that_is_read_all_the_while_is_clustered_the_next_time(
        self, market, monkeypatch, model
    ):
        partitions.create_missing(SNAPSHOTS, [THAT_DAY.day])
        monkeypatch.setattr(partitions, "LOCK_TIMEOUT", 0.1)
        before = physical_order(THAT_DAY)
        with a_reading_session(model):
            report = retention.maintain(now=NOW)
        assert (report.clustered, report.busy) == ([], [THAT_DAY])
        assert physical_order(THAT_DAY) == before
        assert retention.maintain(now=NOW).clustered == [THAT_DAY]

    def test_a_second_run_leaves_the_days_to_the_first(self, market):
        partitions.create_missing(SNAPSHOTS, [THAT_DAY.day])
        first = connection.copy()
        try:
            with first.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_lock(hashtext('cluster'))")
            assert retention.maintain(now=NOW).busy == [THAT_DAY]
        finally:
            first.close()
        assert retention.maintain(now=NOW).clustered == [THAT_DAY]
