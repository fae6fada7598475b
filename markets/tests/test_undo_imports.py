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
    Market,
    MarketRevision,
    MarketSnapshot,
    OrderBookSnapshot,
    Series,
    Trade,
)
from markets.models.imports import ImportState, ImportTaken, Kind
from markets.tests.factories import a_market, a_snapshot
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
        cursor.execute("SELECT pg_advisory_lock(hashtext('undo imports'))")
        with pytest.raises(UndoTaken):
            undo(row)
        cursor.execute("SELECT pg_advisory_unlock(hashtext('undo imports'))")
    other.close()

    undo(row)
