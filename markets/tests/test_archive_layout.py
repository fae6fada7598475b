"""Where archived days lie: read in place by other engines, and found where they lay before."""

import shutil
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from django.core.management import CommandError, call_command

from markets.models import ArchivedDay, Market, MarketSnapshot
from markets.storage import archive, layout, partitions, restore, retention
from markets.storage.manifest import ArchiveError
from markets.storage.partitions import SNAPSHOTS, DayPartition
from markets.tests.factories import a_market, a_snapshot

NOW = datetime.now(UTC)
DAYS = [DayPartition(SNAPSHOTS, date(2026, 3, n)) for n in (1, 2)]
THAT_DAY = DAYS[0]

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def archive_path(settings, tmp_path):
    settings.RETENTION_DAYS = 30
    settings.ARCHIVE_PATH = tmp_path / "archive"
    return settings.ARCHIVE_PATH


@pytest.fixture
def markets():
    """Two markets, with a quote each on the first day and one without a bid on the second."""
    markets = [a_market("KXRAIN-26MAR01-B"), a_market("KXRAIN-26MAR01-A")]
    noon = DAYS[0].bounds[0] + timedelta(hours=12)
    for n, market in enumerate(markets):
        a_snapshot(market, noon, yes_bid=Decimal(40 + n) / 100, yes_ask=Decimal("0.44")).save()
    a_snapshot(markets[0], noon + timedelta(days=1), yes_bid=None, raw_data={"a": 1}).save()
    partitions.create_missing(SNAPSHOTS, [each.day for each in DAYS])
    return markets


def archive_days():
    for each in DAYS:
        archive.archive_day(each, now=NOW)


def lay_as_before(partition=THAT_DAY):
    """Put a day's files where earlier versions had them."""
    files, earlier = layout.place_of(partition), layout.earlier_place_of(partition)
    earlier.manifest.parent.mkdir(parents=True, exist_ok=True)
    for path, place in zip(files, earlier, strict=True):
        path.rename(str(place))
    ArchivedDay.objects.filter(day=partition.day).update(file=layout.name_within(earlier.rows))


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class TestInPlace:
    def test_the_day_is_in_the_path_and_tables_have_files_of_tables_alone(
        self, markets, archive_path
    ):
        archive_days()
        assert files_below(archive_path / "tables") == [
            "markets_of_snapshots/day=2026-03-01/markets_of_snapshots.parquet",
            "markets_of_snapshots/day=2026-03-02/markets_of_snapshots.parquet",
            "snapshots/day=2026-03-01/snapshots.parquet",
            "snapshots/day=2026-03-02/snapshots.parquet",
        ]

    def test_a_database_reads_all_days_with_one_statement(self, markets, archive_path):
        archive_days()
        found = duckdb.sql(
            f"""SELECT quote.day, ticker, yes_bid
                FROM read_parquet('{archive_path}/tables/snapshots/*/*.parquet') AS quote
                JOIN read_parquet('{archive_path}/tables/markets_of_snapshots/*/*.parquet')
                    AS market ON market.id = quote.market_id AND market.day = quote.day
                ORDER BY quote.day, ticker"""
        ).fetchall()
        first, second = (each.day for each in DAYS)
        assert found == [
            (first, "KXRAIN-26MAR01-A", Decimal("0.4100")),
            (first, "KXRAIN-26MAR01-B", Decimal("0.4000")),
            (second, "KXRAIN-26MAR01-B", None),
        ]

    def test_a_folder_is_one_data_set_of_one_schema(self, markets, archive_path):
        archive_days()
        folder = archive_path / "tables/snapshots"
        schemas = {pq.read_schema(path) for path in folder.rglob("*.parquet")}
        assert len(schemas) == 1
        data = ds.dataset(folder, partitioning=ds.partitioning(flavor="hive"))
        assert data.schema.field("yes_bid").type == pa.decimal128(6, 4)
        assert data.to_table(filter=ds.field("day") == "2026-03-01").num_rows == 2

    def test_a_file_is_sorted_by_market_and_says_so(self, markets):
        archive_days()
        file = pq.ParquetFile(layout.files_of(THAT_DAY).rows)
        group = file.metadata.row_group(0)
        place = file.schema_arrow.get_field_index("market_id")
        assert [each.column_index for each in group.sorting_columns] == [place]
        ids = sorted(market.pk for market in markets)
        assert file.read()["market_id"].to_pylist() == ids
        statistics = group.column(place).statistics
        assert (statistics.min, statistics.max) == (ids[0], ids[-1])


class TestArchivesOfBefore:
    def test_a_day_is_restored(self, markets):
        of_day = MarketSnapshot.objects.filter(timestamp__lt=THAT_DAY.bounds[1]).order_by("pk")
        rows = list(of_day.values())
        archive_days()
        lay_as_before()
        assert THAT_DAY in retention.maintain(now=NOW).dropped
        call_command("restorearchive", "2026-03-01", "--table", SNAPSHOTS)
        assert list(of_day.values()) == rows

    def test_a_day_comes_back_into_an_empty_database(self, markets):
        archive_days()
        lay_as_before()
        partitions.drop(THAT_DAY, str)
        ArchivedDay.objects.all().delete()
        assert restore.restore_day(THAT_DAY, now=NOW).inserted == 2
        assert ArchivedDay.objects.get().file == (
            "snapshots/2026/markets_marketsnapshot-2026-03-01.parquet"
        )

    def test_a_day_is_found_without_its_table_being_named(self, markets, capsys):
        archive_days()
        lay_as_before()
        call_command("restorearchive", "2026-03-01")
        assert capsys.readouterr().out == (
            f"{SNAPSHOTS} 2026-03-01: all 2 rows were in the database already\n"
        )

    @pytest.mark.parametrize("part", ["rows", "markets", "manifest"])
    def test_a_damaged_day_is_refused_and_kept(self, markets, part):
        archive_days()
        lay_as_before()
        getattr(layout.files_of(THAT_DAY), part).write_bytes(b"something else")
        assert "damaged" in retention.maintain(now=NOW).kept[THAT_DAY]
        with pytest.raises(ArchiveError):
            restore.restore_day(THAT_DAY, now=NOW)

    def test_a_day_that_has_not_changed_stays_where_it_is(self, markets, archive_path):
        archive_days()
        lay_as_before()
        before = files_below(archive_path)
        assert archive.days_to_archive([SNAPSHOTS], now=NOW) == []
        assert files_below(archive_path) == before

    def test_a_day_that_is_archived_again_moves(self, markets, archive_path):
        archive_days()
        lay_as_before()
        call_command("archive", "--all", "--table", SNAPSHOTS)
        assert not files_below(archive_path / "snapshots")
        assert ArchivedDay.objects.get(day=THAT_DAY.day).file == (
            "tables/snapshots/day=2026-03-01/snapshots.parquet"
        )
        assert THAT_DAY in retention.maintain(now=NOW).dropped
        assert restore.restore_day(THAT_DAY, now=NOW).inserted == 2

    def test_all_days_move_by_command_dropped_ones_too(self, markets, archive_path, capsys):
        archive_days()
        before = files_below(archive_path)
        lay_as_before()
        assert THAT_DAY in retention.maintain(now=NOW).dropped
        call_command("archive", "--move")
        assert files_below(archive_path) == before
        assert capsys.readouterr().out == f"{THAT_DAY}: moved\n"
        assert restore.restore_day(THAT_DAY, now=NOW).inserted == 2
        assert ArchivedDay.objects.get(day=THAT_DAY.day).file == (
            "tables/snapshots/day=2026-03-01/snapshots.parquet"
        )
        call_command("archive", "--move")
        assert capsys.readouterr().out == "Nothing to do.\n"

    @pytest.mark.parametrize("left", [3, 2, 1])
    def test_a_move_that_was_killed_is_finished(self, markets, archive_path, capsys, left):
        """It had put the files in their places, and taken away none or some of those of before."""
        archive_days()
        before = files_below(archive_path)
        files, earlier = layout.place_of(THAT_DAY), layout.earlier_place_of(THAT_DAY)
        earlier.manifest.parent.mkdir(parents=True)
        for path, place in list(zip(files, earlier, strict=True))[:left]:
            shutil.copy(str(path), str(place))
        days = ArchivedDay.objects.filter(day=THAT_DAY.day)
        days.update(file=layout.name_within(earlier.rows))
        call_command("archive", "--move")
        assert capsys.readouterr().out == f"{THAT_DAY}: moved\n"
        assert files_below(archive_path) == before
        assert days.get().file == layout.name_within(files.rows)
        assert THAT_DAY in retention.maintain(now=NOW).dropped

    def test_files_of_before_stay_where_those_in_their_places_are_damaged(
        self, markets, archive_path
    ):
        archive_days()
        files, earlier = layout.place_of(THAT_DAY), layout.earlier_place_of(THAT_DAY)
        earlier.manifest.parent.mkdir(parents=True)
        for path, place in zip(files, earlier, strict=True):
            shutil.copy(str(path), str(place))
        files.rows.write_bytes(b"something else")
        with pytest.raises(CommandError, match="2026-03-01 is not moved: its files are damaged"):
            call_command("archive", "--move")
        assert all(path.exists() for path in earlier)

    def test_a_move_is_of_all_days(self):
        with pytest.raises(CommandError, match="leave out --day"):
            call_command("archive", "--move", "--day", "2026-03-01")

    def test_a_damaged_day_is_not_moved(self, markets, archive_path):
        archive_days()
        lay_as_before()
        layout.files_of(THAT_DAY).rows.write_bytes(b"something else")
        before = files_below(archive_path)
        with pytest.raises(CommandError, match="2026-03-01 is not moved: its files are damaged"):
            call_command("archive", "--move")
        assert files_below(archive_path) == before

    def test_it_is_never_replaced_by_less(self, markets, archive_path):
        archive_days()
        lay_as_before()
        ArchivedDay.objects.all().delete()
        MarketSnapshot.objects.filter(market=markets[0]).delete()
        with pytest.raises(ArchiveError, match="some of which would be lost"):
            archive.archive_day(THAT_DAY, now=NOW)
        assert layout.files_of(THAT_DAY) == layout.earlier_place_of(THAT_DAY)


class TestPlaces:
    def test_a_folder_that_cannot_be_made_is_named(self, markets, settings, tmp_path):
        (tmp_path / "taken").write_text("")
        settings.ARCHIVE_PATH = tmp_path / "taken"
        with pytest.raises(CommandError, match=r"ARCHIVE_PATH cannot be written: .*taken"):
            call_command("archive")

    def test_looking_for_a_day_makes_no_folder(self, archive_path):
        with pytest.raises(CommandError, match="2026-03-01 is not in the archive"):
            call_command("restorearchive", "2026-03-01")
        assert not archive_path.exists()
        assert not Market.objects.exists()
