"""Imports that are begun again, twice at once, or for files that were imported in part."""

import csv
from contextlib import closing, contextmanager
from hashlib import sha256
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from kalshi_insights.bad_input import BadInput
from markets.importing.import_writer import ImportWriter
from markets.importing.reading.csv_file import CsvFile
from markets.importing.refused_file import COLUMNS, RefusedFile, RefusedFolder
from markets.models import Import
from markets.models.imports import ImportState, ImportTaken, Kind, RowCounts
from markets.tests.import_builders import an_import, batch, quote

pytestmark = pytest.mark.django_db
HEADER = "ticker,timestamp,yes_bid,yes_ask\n"


def rows_of(ticker: str, seconds: range) -> str:
    return "".join(f"{ticker},2026-11-02T15:00:{n:02}Z,0.4{n:02},0.5\n" for n in seconds)


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        (tmp_path / name).write_text(f"{HEADER}{content}")
        return str(tmp_path / name)

    return write


@pytest.fixture(autouse=True)
def refused_folder(settings, tmp_path):
    settings.BASE_DIR = tmp_path
    return tmp_path / "var" / "refused"


def run(*arguments):
    out = StringIO()
    call_command("importdata", "quotes", *arguments, stdout=out)
    return out.getvalue()


@contextmanager
def an_interruption(monkeypatch, *, after_batches):
    """Read files in small batches, and interrupt the writer before the next one is written."""
    write_batch, written = ImportWriter.write, list[RowCounts]()

    def stop(writer, one):
        if len(written) == after_batches:
            raise KeyboardInterrupt
        written.append(write_batch(writer, one))

    with monkeypatch.context() as patch:
        patch.setattr(CsvFile, "piece", 100)
        patch.setattr(ImportWriter, "write", stop)
        with pytest.raises(CommandError, match="same command again"):
            yield


@contextmanager
def another_process_imports(path):
    name = f"import quotes {sha256(Path(path).read_bytes()).hexdigest()}"
    with closing(connection.copy()) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [name])
        yield


def refused_lines(path):
    with path.open(newline="") as file:
        return [row["line"] for row in csv.DictReader(file)]


class TestTwoProcesses:
    def test_a_file_that_another_process_imports_is_told_and_left_to_it(self, write):
        path = write("a.csv", rows_of("KXA-1", range(3)))
        told = pytest.raises(CommandError, match=r"Another process is importing a\.csv")
        with another_process_imports(path), told:
            run(path)
        assert not Import.objects.exists()
        assert "3 rows" in run(path)

    def test_the_one_that_comes_too_late_does_not_interrupt_the_other(self):
        row = an_import()
        one, late = ImportWriter(row), ImportWriter(Import.objects.get())
        one.write(batch(Kind.QUOTES, [("KXA-1", 1, quote(42, 45))]))

        late.interrupt()
        one.write(batch(Kind.QUOTES, [("KXA-1", 2, quote(43, 45))], first_line=3))
        one.finish()

        assert (row.state, row.rows) == (ImportState.FINISHED, 2)

    def test_an_import_that_is_undone_meanwhile_does_not_end_as_if_all_were_well(self):
        row = an_import()
        writer = ImportWriter(row)
        writer.write(batch(Kind.QUOTES, [("KXA-1", 1, quote(42, 45))]))
        Import.objects.mark_undoing()

        with pytest.raises(ImportTaken, match=f"Import {row.pk} was undone"):
            writer.finish()
        assert row.state == ImportState.UNDOING


class TestGroup:
    def test_a_command_that_is_continued_keeps_its_group(self, write, monkeypatch):
        paths = [
            write(f"{name}.csv", rows_of(f"KX{name.upper()}-1", range(8))) for name in ("a", "b")
        ]
        later = write("c.csv", rows_of("KXC-1", range(3)))
        with an_interruption(monkeypatch, after_batches=5):
            run(*paths, later)

        out = run(*paths, later)

        [group] = set(Import.objects.values_list("group", flat=True))
        assert Import.objects.filter(state=ImportState.FINISHED).count() == 3
        assert out.endswith(f"undoimport {group}\n")

    def test_files_that_are_all_imported_are_told_with_the_group_that_they_have(self, write):
        paths = [write(f"{name}.csv", rows_of("KXA-1", range(2, n))) for name, n in
                 (("a", 4), ("b", 5))]  # fmt: skip
        run(*paths)

        out = run(*paths)

        assert out.count("is import") == 2
        assert out.endswith(f"undoimport {Import.objects.all()[0].group}\n")

    def test_files_beside_one_of_another_command_are_a_group_of_their_own(self, write):
        first, other = (write(f"{n}.csv", rows_of("KXA-1", range(n))) for n in (2, 3))
        later = write("later.csv", rows_of("KXA-1", range(4)))
        run(first, other)

        out = run(first, later)

        newest = Import.objects.all()[0]
        assert newest.file.endswith("later.csv")
        assert newest.group != Import.objects.all()[1].group
        assert "Undo them together" not in out


class TestRefusedRows:
    def test_they_lie_in_a_file_that_is_named_by_the_import(self, write, refused_folder):
        out = run(write("a.csv", rows_of("KXA-1", range(2)) + "KXA-1,x,0.4,0.5\n"))
        path = refused_folder / f"import-{Import.objects.get().pk}.csv"
        assert f"1 row refused, listed in {path}" in out
        assert refused_lines(path) == ["4"]

    @pytest.mark.parametrize("batches", range(1, 7))
    def test_an_interruption_loses_none_and_repeats_none(
        self, write, refused_folder, monkeypatch, batches
    ):
        rows = rows_of("KXA-1", range(20)).splitlines(keepends=True)
        for place in (3, 9, 15):
            rows[place] = "KXA-1,x,0.4,0.5\n"
        path = write("a.csv", "".join(rows))
        with an_interruption(monkeypatch, after_batches=batches):
            run(path)

        run(path)

        row = Import.objects.get()
        assert (row.rows, row.refused, row.state) == (17, 3, ImportState.FINISHED)
        assert refused_lines(refused_folder / f"import-{row.pk}.csv") == ["5", "11", "17"]

    def test_a_folder_in_which_nothing_can_be_written_is_told_before_anything_is(
        self, write, tmp_path
    ):
        (tmp_path / "var").write_text("no folder")
        with pytest.raises(CommandError, match=r"--refused: .*var/refused: ") as caught:
            run(write("a.csv", rows_of("KXA-1", range(2)) + "KXA-1,x,0.4,0.5\n"))
        assert caught.value.returncode == 2
        assert not Import.objects.exists()


class TestNothingToImport:
    @pytest.mark.parametrize("kind", ["quotes", "trades"])
    def test_a_file_with_its_header_alone_is_refused(self, tmp_path, kind):
        path = tmp_path / "a.csv"
        path.write_text("ticker,timestamp,yes_bid,price,count\n")
        with pytest.raises(CommandError, match=rf"a\.csv: has no rows of {kind}$") as caught:
            call_command("importdata", kind, str(path))
        assert caught.value.returncode == 2
        assert not Import.objects.exists()

    def test_settlements_that_all_have_no_result_are_refused(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("ticker,result\nKXA-1,\nKXA-2,\n")
        with pytest.raises(CommandError, match="no rows of settlements, but 2 rows that tell"):
            call_command("importdata", "settlements", str(path))


class TestUnitOfSettlements:
    def test_dollars_that_are_said_to_be_cents_are_refused(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("ticker,settlement_value\nKXA-1,1.00\nKXA-2,0.00\n")
        with pytest.raises(CommandError, match=r"--unit: .*no settlement value is above a cent"):
            call_command("importdata", "settlements", str(path), "--unit", "cents")

    @pytest.mark.parametrize(
        "rows",
        [
            "settlement_value\nKXA-1,100\n",
            "settlement_value\nKXA-1,0\n",
            "settlement_value,result\nKXA-1,1,scalar\n",
        ],
    )
    def test_cents_are_read(self, tmp_path, rows):
        path = tmp_path / "a.csv"
        path.write_text(f"ticker,{rows}")
        call_command("importdata", "settlements", str(path), "--unit", "cents", stdout=StringIO())
        assert Import.objects.get().rows == 1


LONG = f"KX{'A' * 199}"


class TestTickersThatAreTooLong:
    """Longer than the record can hold: refused by line or flag, before anything is written."""

    @pytest.mark.parametrize("field", ["ticker", "event_ticker", "series_ticker"])
    def test_in_a_row(self, tmp_path, field):
        columns = {"ticker": "KXA-1", "event_ticker": "KXA", "series_ticker": "KXA"}
        path, refused = tmp_path / "a.csv", tmp_path / "refused.csv"
        lines = [columns, {**columns, "ticker": "KXA-2"}, {**columns, field: LONG}]
        text = "\n".join([",".join(columns), *(",".join(each.values()) for each in lines)])
        path.write_text(f"{text}\n")
        call_command("importdata", "markets", str(path), refused=refused, stdout=StringIO())
        assert refused_lines(refused) == ["4"]
        assert Import.objects.get().rows == 2

    @pytest.mark.parametrize(
        ("name", "flags"), [("a.csv", ["--ticker", LONG]), (f"{LONG}.csv", ["--ticker-from-name"])]
    )
    def test_of_all_rows(self, write, name, flags):
        path = write(name, rows_of("KXA-1", range(2)))
        with pytest.raises(CommandError, match=f"{flags[0]}: .*is not a ticker"):
            run(path, *flags)
        assert not Import.objects.exists()


@pytest.mark.parametrize("row", ["a.csv,one,x,y,z", "a.csv,1,x,y," + "y" * 200_000])
def test_a_damaged_file_of_refused_rows_is_named(tmp_path, row):
    path = tmp_path / "import-1.csv"
    path.write_text(",".join(COLUMNS) + f"\n{row}\n")
    with pytest.raises(BadInput, match=r"^--refused: .*import-1.csv: "):
        RefusedFolder(tmp_path).file_of(1, after_line=9)


def test_a_file_of_refused_rows_that_cannot_be_written_anew_is_named(tmp_path):
    RefusedFile(tmp_path / "import-1.csv").create()
    (tmp_path / "import-1.part").mkdir()
    with pytest.raises(BadInput, match=r"^--refused: .*import-1.csv: Is a directory"):
        RefusedFolder(tmp_path).file_of(1, after_line=9)
