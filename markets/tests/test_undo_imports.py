"""Undoing imports: what they brought goes, and nothing else."""

from datetime import timedelta
from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from markets.importing.import_writer import ImportWriter
from markets.importing.undo import UndoTaken, undo, undo_waiting
from markets.models import (
    Event,
    FeeChange,
    Import,
    ImportedSpan,
    ListedMarket,
    Market,
    MarketRevision,
    MarketSnapshot,
    OrderBookSnapshot,
    Series,
    Trade,
)
from markets.models.imports import ImportState, ImportTaken, Kind
from markets.storage import archive, partitions, restore, retention
from markets.storage.manifest import ArchiveError
from markets.storage.partitions import SNAPSHOTS, TRADES, DayPartition
from markets.tests.factories import a_market, a_snapshot, a_trade
from markets.tests.import_builders import START, an_import, batch, imported, quote

pytestmark = pytest.mark.django_db
TICKER = "KXOWN-26NOV20-T40"
QUOTES = [(TICKER, 0, quote(42, 45)), (TICKER, 90_000, quote(50, 52))]


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_rows_of_all_kinds_go_and_placeholders_with_them():
    trade = {"yes_price": 4_500, "count": 100, "taker_side": 1, "is_block_trade": 0}
    rows = [
        imported(Kind.QUOTES, QUOTES, fee_type="quadratic"),
        imported(Kind.TRADES, [(TICKER, 1, trade)]),
        imported(Kind.BOOKS, [(TICKER, 1, {"bids": [(4200, 100)]})]),
        imported(Kind.SETTLEMENTS, [(TICKER, None, {"result": "yes"})]),
        imported(Kind.MARKETS, [(TICKER, None, {"title": "Hot"})]),
    ]
    for row in rows:
        assert Market.objects.exists()
        undo(row)

    tables = (MarketSnapshot, Trade, OrderBookSnapshot, MarketRevision, FeeChange, ImportedSpan)
    for table in (*tables, Market, Event, Series):
        assert not table.objects.exists(), table
    assert {row.state for row in Import.objects.all()} == {ImportState.UNDONE}
    assert all(row.undone_at for row in Import.objects.all())


def test_the_rows_of_others_stay():
    market = a_market(TICKER)
    a_snapshot(market, START).save()
    kept = imported(Kind.QUOTES, QUOTES)
    undo(imported(Kind.QUOTES, QUOTES))

    assert MarketSnapshot.objects.count() == 3
    assert Market.objects.get() == market
    assert kept.spans.get().rows == 2


def test_an_undo_that_was_cut_off_goes_on():
    row = imported(Kind.QUOTES, QUOTES)
    MarketSnapshot.objects.filter(timestamp__lt=START + timedelta(hours=1)).delete()
    Import.objects.filter(pk=row.pk).mark_undoing()

    assert undo_waiting() == [row.pk]
    assert not MarketSnapshot.objects.exists()
    assert undo_waiting() == []


def test_nothing_more_is_written_for_an_import_that_is_undone():
    row = an_import()
    writer = ImportWriter(row)
    writer.write(batch(Kind.QUOTES, QUOTES))
    undo(Import.objects.get())

    with pytest.raises(ImportTaken):
        writer.write(batch(Kind.QUOTES, QUOTES, first_line=4))
    assert not MarketSnapshot.objects.exists()


def test_the_file_of_an_undone_import_can_be_imported_anew():
    row = an_import(sha256="a" * 64)
    undo(row)

    assert an_import(sha256="a" * 64) != row


def test_the_command_undoes_a_group_and_tells_who_used_it():
    row, other = imported(Kind.QUOTES, QUOTES), imported(Kind.QUOTES, QUOTES)
    Import.objects.update(group=uuid4())
    Import.objects.note_use([row.pk], "backtest 7")

    told = run("undoimport", str(Import.objects.first().group))

    assert f"Import {row.pk} is undone: own.csv, 2 rows." in told
    assert f"Import {other.pk} is undone" in told
    assert "used by backtest 7" in told
    assert f"Import {row.pk} is undone already." in run("undoimport", str(row.pk))
    with pytest.raises(CommandError, match="name: no import has the number or group 999"):
        run("undoimport", "999")


def test_imports_are_listed_and_shown():
    assert run("imports") == "Nothing was imported yet.\n"
    row = imported(Kind.QUOTES, QUOTES, unit="cents")

    assert "finished" in run("imports")
    shown = run("imports", str(row.pk))

    assert '{"unit": "cents"}' in shown
    assert "2 written, 0 refused, 0 repeated" in shown
    assert "2026-11-20 12:00:00 to 2026-11-21 13:00:00 UTC" in shown


def test_two_processes_do_not_undo_at_once():
    row = imported(Kind.QUOTES, QUOTES)
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended('undo imports', 0))")
        with pytest.raises(UndoTaken):
            undo(row)
        cursor.execute("SELECT pg_advisory_unlock(hashtextextended('undo imports', 0))")
    other.close()

    undo(row)


class TestArchive:
    """The archive holds what was recorded, and a day with imported rows is kept."""

    DAY = DayPartition(SNAPSHOTS, START.date())

    @pytest.fixture(autouse=True)
    def folder(self, settings, tmp_path):
        settings.ARCHIVE_PATH = tmp_path
        settings.RETENTION_DAYS = 1

    def record_and_import(self):
        a_snapshot(a_market(TICKER), START).save()
        return imported(Kind.QUOTES, [(TICKER, 0, quote(42, 45)), (TICKER, 1, quote(43, 45))])

    def test_imported_rows_are_not_archived_and_change_no_day(self):
        now = START + timedelta(days=2)
        a_snapshot(a_market(TICKER), START).save()
        archive.archive_day(self.DAY, now=now)
        imported(Kind.QUOTES, QUOTES)

        assert archive.days_to_archive([SNAPSHOTS], now=now) == []
        assert archive.archive_day(self.DAY, now=now).rows == 1

    def test_a_day_with_imported_rows_is_kept_until_they_are_undone(self):
        now = START + timedelta(days=9)
        partitions.create_missing(SNAPSHOTS, [self.DAY.day])
        row = self.record_and_import()
        archive.archive_day(self.DAY, now=now)

        assert "2 rows of imports" in retention.reason_to_keep(self.DAY)
        undo(row)
        assert retention.reason_to_keep(self.DAY) == ""

    def test_a_restored_day_describes_the_placeholder_of_an_import(self):
        now = START + timedelta(days=9)
        a_snapshot(a_market(TICKER, title="Hot in Oslo"), START).save()
        archive.archive_day(self.DAY, now=now)
        MarketSnapshot.objects.all().delete()
        Market.objects.all().delete()
        Event.objects.all().delete()
        imported(Kind.QUOTES, QUOTES)

        restore.restore_day(self.DAY, now=now)

        market = Market.objects.get()
        assert (market.title, market.is_placeholder) == ("Hot in Oslo", False)
        assert not market.event.is_placeholder
        assert ListedMarket.objects.filter(market=market).exists()
        assert market.snapshots.count() == 3

    def test_a_restored_day_stands_beside_imported_rows(self):
        now = START + timedelta(days=9)
        self.record_and_import()
        archive.archive_day(self.DAY, now=now)
        MarketSnapshot.objects.recorded().delete()

        assert restore.restore_day(self.DAY, now=now).inserted == 1
        assert MarketSnapshot.objects.count() == 3

    def test_an_imported_trade_stands_for_none_of_the_archive(self):
        day, now = DayPartition(TRADES, START.date()), START + timedelta(days=2)
        partitions.create_missing(TRADES, [day.day])
        market = a_market(TICKER)
        kept, lost = (a_trade(market, START, str(uuid4())) for _ in range(2))
        archive.archive_day(day, now=now)
        Trade.objects.filter(pk=lost.pk).delete()
        trade = {"yes_price": 4_500, "count": 100, "taker_side": 1, "is_block_trade": 0}
        row = imported(Kind.TRADES, [(TICKER, 0, {**trade, "trade_id": str(lost.pk)})])
        assert Trade.objects.get(pk=lost.pk).source == "IMPORT"

        with pytest.raises(ArchiveError, match="restore the day first"):
            archive.archive_day(day, now=now + timedelta(days=1))

        assert restore.restore_day(day, now=now).inserted == 1
        assert {each.pk for each in Trade.objects.recorded()} == {kept.pk, lost.pk}
        undo(row)
        assert Trade.objects.count() == 2
