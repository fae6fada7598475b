"""A database that was restored from a backup takes back what only the newer archive has."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given
from hypothesis import settings as rules
from hypothesis import strategies as st

from markets.intervals import Interval
from markets.models import (
    ArchivedDay,
    Closure,
    HotPeriod,
    Market,
    MarketSnapshot,
    Poll,
    TapeSpan,
    Trade,
)
from markets.storage import archive, layout, partitions, restore, retention
from markets.storage.account import CLOSURES, HOT_PERIODS, POLLS, TAPE_SPANS
from markets.storage.manifest import ArchiveError, read_manifest
from markets.storage.partitions import SNAPSHOTS, TRADES, DayPartition
from markets.tests.factories import a_market, a_poll, a_snapshot, a_trade

DAY = date(2026, 3, 1)
START, END = DayPartition(SNAPSHOTS, DAY).bounds
THAT_DAY = DayPartition(SNAPSHOTS, DAY)
NOW = datetime.now(UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _settings(settings, tmp_path):
    settings.ARCHIVE_PATH = tmp_path / "archive"
    settings.RETENTION_DAYS = 30


def at(hour: float) -> datetime:
    return START + timedelta(hours=hour)


def restored(day: DayPartition) -> restore.RestoredRows:
    return restore.restore_day(day, now=NOW, accept_other_files=True)


def back_to(records: list[dict[str, Any]]) -> None:
    """Let the catalogue of the archive be that of the backup."""
    ArchivedDay.objects.all().delete()
    ArchivedDay.objects.bulk_create(ArchivedDay(**each) for each in records)


@pytest.fixture
def market() -> Market:
    """A market with three rows in the backup, and a fourth that only the archive has."""
    market = a_market()
    for hour in (1, 2, 3):
        a_snapshot(market, at(hour)).save()
    partitions.create_missing(SNAPSHOTS, [DAY])
    archive.archive_day(THAT_DAY, now=NOW)
    backup: list[dict[str, Any]] = [dict(each) for each in ArchivedDay.objects.values()]
    a_snapshot(market, at(4)).save()
    archive.archive_day(THAT_DAY, now=NOW)
    MarketSnapshot.objects.filter(timestamp=at(4)).delete()
    back_to(backup)
    return market


def hours() -> list[int]:
    times = MarketSnapshot.objects.order_by("timestamp").values_list("timestamp", flat=True)
    return [time.hour for time in times]


def test_the_newer_files_are_not_written_over_and_the_way_out_is_told(market):
    before = layout.files_of(THAT_DAY).rows.read_bytes()
    assert archive.days_to_archive([SNAPSHOTS], now=NOW) == [THAT_DAY]
    way_out = f"restorearchive 2026-03-01 --table {SNAPSHOTS} --accept-other-files"
    with pytest.raises(ArchiveError, match=way_out):
        archive.archive_day(THAT_DAY, now=NOW)
    with pytest.raises(ArchiveError, match=f"has 4 rows(.|\n)*{way_out}"):
        restore.restore_day(THAT_DAY, now=NOW)
    assert layout.files_of(THAT_DAY).rows.read_bytes() == before
    assert hours() == [1, 2, 3]
    assert "not those on record" in retention.maintain(now=NOW).kept[THAT_DAY]


def test_the_day_is_whole_and_archived_again_once_its_files_are_accepted(market, capsys):
    with pytest.raises(CommandError, match="restore the day first"):
        call_command("archive")
    call_command("restorearchive", f"{DAY}", "--accept-other-files")
    assert hours() == [1, 2, 3, 4]
    capsys.readouterr()
    call_command("archive")
    assert capsys.readouterr().out == "Nothing to do.\n"
    restore.restore_day(THAT_DAY, now=NOW)
    later = NOW + timedelta(days=40)
    assert THAT_DAY in retention.maintain(now=later).dropped


def test_as_many_rows_that_are_others_do_not_replace_the_newer_files(market):
    a_snapshot(market, at(5)).save()
    with pytest.raises(ArchiveError, match="restore the day first"):
        archive.archive_day(THAT_DAY, now=NOW)
    restored(THAT_DAY)
    assert archive.archive_day(THAT_DAY, now=NOW).rows == 5
    assert hours() == [1, 2, 3, 4, 5]


def test_as_many_rows_that_are_others_do_not_replace_files_without_a_record(market):
    ArchivedDay.objects.all().delete()
    a_snapshot(market, at(5)).save()
    with pytest.raises(ArchiveError, match="restore the day first"):
        archive.archive_day(THAT_DAY, now=NOW)
    restore.restore_day(THAT_DAY, now=NOW)
    assert archive.archive_day(THAT_DAY, now=NOW).rows == 5


def test_the_day_is_archived_at_once_where_the_files_have_nothing_more(market):
    a_snapshot(market, at(4)).save()
    call_command("archive")
    assert ArchivedDay.objects.get().rows == 4
    assert archive.days_to_archive([SNAPSHOTS], now=NOW) == []


def test_a_day_that_the_backup_knew_as_dropped_comes_back(market):
    MarketSnapshot.objects.all().delete()
    ArchivedDay.objects.update(dropped_at=NOW)
    with pytest.raises(ArchiveError, match="--accept-other-files"):
        restore.restore_day(THAT_DAY, now=NOW)
    assert restored(THAT_DAY) == (4, 4)


def test_damaged_files_are_never_accepted(market):
    layout.files_of(THAT_DAY).rows.write_bytes(b"something else")
    with pytest.raises(ArchiveError, match="is damaged"):
        restored(THAT_DAY)


def test_runs_that_had_not_ended_in_the_backup_come_back():
    polls = DayPartition(POLLS, DAY)
    poll = a_poll(at(1), seconds=4)
    ended_at = poll.finished_at
    archive.archive_day(polls, now=NOW)
    Poll.objects.update(finished_at=None)
    ArchivedDay.objects.update(sha256="0" * 64)
    with pytest.raises(ArchiveError, match="--accept-other-files"):
        archive.archive_day(polls, now=NOW)
    assert restored(polls) == (1, 1)
    assert Poll.objects.get().finished_at == ended_at
    assert archive.archive_day(polls, now=NOW).rows == 1


def test_a_closure_that_was_announced_again_is_known_since_it_was_first():
    closures = DayPartition(CLOSURES, DAY)
    a_poll(at(1))
    Closure.objects.create(start=at(2), end=at(3), known_at=at(0))
    archive.archive_day(closures, now=NOW)
    ArchivedDay.objects.update(sha256="0" * 64)
    Closure.objects.update(known_at=at(1))
    with pytest.raises(ArchiveError, match="restore the day first"):
        archive.archive_day(closures, now=NOW)
    assert restored(closures) == (1, 1)
    assert Closure.objects.get().known_at == at(0)
    Closure.objects.update(known_at=at(-1))
    assert restored(closures) == (1, 0)
    assert Closure.objects.get().known_at == at(-1)


@pytest.mark.parametrize("ended_at", [None, at(40)])
def test_a_hot_period_ends_when_the_archive_saw_its_end(ended_at):
    periods = DayPartition(HOT_PERIODS, DAY)
    a_poll(at(1))
    HotPeriod.objects.create(market=a_market("KXA-1"), started_at=at(2), ended_at=at(15))
    HotPeriod.objects.create(market=a_market("KXA-2"), started_at=at(2), ended_at=at(30))
    archive.archive_day(periods, now=NOW)
    ArchivedDay.objects.update(sha256="0" * 64)
    HotPeriod.objects.update(ended_at=ended_at)
    with pytest.raises(ArchiveError, match="restore the day first"):
        archive.archive_day(periods, now=NOW)
    assert [restored(periods).inserted for _ in range(2)] == [1, 0]
    ends = HotPeriod.objects.order_by("market__ticker").values_list("ended_at", flat=True)
    assert list(ends) == [at(15), ended_at]
    assert archive.archive_day(periods, now=NOW).rows == 2


def test_spans_of_the_tape_that_the_backup_lacks_come_back():
    spans = DayPartition(TAPE_SPANS, DAY)
    a_poll(at(1))
    TapeSpan.objects.mark(Interval(at(0), at(5)), TapeSpan(is_whole=True))
    archive.archive_day(spans, now=NOW)
    ArchivedDay.objects.update(sha256="0" * 64)
    TapeSpan.objects.all().delete()
    TapeSpan.objects.mark(Interval(at(0), at(2)), TapeSpan(is_whole=True))
    with pytest.raises(ArchiveError, match="--accept-other-files"):
        archive.archive_day(spans, now=NOW)
    restored(spans)
    assert archive.archive_day(spans, now=NOW).rows == 1
    assert TapeSpan.objects.get().end == at(5)


def test_a_trade_that_another_source_told_of_the_next_day_is_not_lost():
    market, trades = a_market(), DayPartition(TRADES, DAY)
    a_trade(market, END - timedelta(seconds=1), "a")
    a_trade(market, at(1), "b")
    archive.archive_day(trades, now=NOW)
    ArchivedDay.objects.all().delete()
    Trade.objects.all().delete()
    a_trade(market, END, "a")
    with pytest.raises(ArchiveError, match="restore the day first"):
        archive.archive_day(trades, now=NOW)
    a_trade(market, at(1), "b")
    assert archive.archive_day(trades, now=NOW).rows == 1


class TestTradesThatWereReadAgain:
    """The hours after a backup were closed by listing: each trade is known since it happened."""

    TRADES = DayPartition(TRADES, DAY)
    LIVE = at(1) + timedelta(seconds=3)

    @pytest.fixture(autouse=True)
    def read_again(self):
        market = a_market()
        a_trade(market, at(1), "a", known_at=self.LIVE)
        a_trade(market, at(2), "b")
        archive.archive_day(self.TRADES, now=NOW)
        ArchivedDay.objects.all().delete()
        Trade.objects.all().delete()
        for hour, name in ((1, "a"), (2, "b")):
            a_trade(market, at(hour), name, recorded_at=NOW)

    def test_do_not_replace_the_files_that_know_when_they_were_learned(self):
        before = layout.files_of(self.TRADES).rows.read_bytes()
        with pytest.raises(ArchiveError, match="restore the day first"):
            archive.archive_day(self.TRADES, now=NOW)
        assert layout.files_of(self.TRADES).rows.read_bytes() == before

    def test_are_known_since_they_were_learned_once_restored(self):
        assert [restored(self.TRADES).inserted for _ in range(2)] == [1, 0]
        known = Trade.objects.oldest_first().values_list("known_at", "recorded_at")
        assert list(known) == [(self.LIVE, at(1)), (at(2), NOW)]
        assert archive.archive_day(self.TRADES, now=NOW).rows == 2

    def test_do_not_take_what_the_record_learned_live(self):
        live = self.LIVE + timedelta(seconds=1)
        Trade.objects.filter(created_time=at(1)).update(known_at=live)
        assert archive.archive_day(self.TRADES, now=NOW).rows == 2
        assert live in Trade.objects.values_list("known_at", flat=True)


@pytest.mark.parametrize("table", [SNAPSHOTS, TRADES])
def test_a_day_with_fewer_rows_than_its_files_is_refused_without_reading_them(market, table):
    day = DayPartition(table, DAY)
    if table == TRADES:
        for hour in (1, 2):
            a_trade(market, at(hour), str(hour))
        archive.archive_day(day, now=NOW)
        Trade.objects.filter(created_time=at(2)).delete()
    with CaptureQueriesContext(connection) as queries, pytest.raises(ArchiveError):
        archive.archive_day(day, now=NOW)
    assert not [each for each in queries if "archived_" in each["sql"].replace("archivedday", "")]


HOURS = st.sets(st.integers(0, 5), min_size=1)


@rules(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(in_files=HOURS, in_database=HOURS, is_on_record=st.booleans())
def test_no_row_of_an_archive_is_ever_lost(settings, in_files, in_database, is_on_record):
    with transaction.atomic(), TemporaryDirectory() as folder:
        settings.ARCHIVE_PATH = Path(folder)
        market = a_market()
        MarketSnapshot.objects.bulk_create(a_snapshot(market, at(hour)) for hour in in_files)
        archive.archive_day(THAT_DAY, now=NOW)
        MarketSnapshot.objects.all().delete()
        ArchivedDay.objects.all().delete()
        MarketSnapshot.objects.bulk_create(a_snapshot(market, at(hour)) for hour in in_database)
        if is_on_record:
            archived = read_manifest(layout.files_of(THAT_DAY).manifest)
            archive.record_archived(THAT_DAY, archived, verified_at=NOW)
            ArchivedDay.objects.update(sha256="0" * 64)
        if not in_files <= in_database:
            with pytest.raises(ArchiveError, match="restore the day first"):
                archive.archive_day(THAT_DAY, now=NOW)
            restored(THAT_DAY)
        assert archive.archive_day(THAT_DAY, now=NOW).rows == len(in_files | in_database)
        transaction.set_rollback(True)
