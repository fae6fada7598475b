"""The command that imports people's own files, from flags to rows on record."""

import csv
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from markets.importing.import_writer import ImportWriter
from markets.importing.reading.csv_file import CsvFile
from markets.models import (
    FeeChange,
    Import,
    Market,
    MarketRevision,
    MarketSnapshot,
    OrderBookSnapshot,
    Trade,
)
from markets.models.imports import RowCounts
from markets.tests.factories import a_market

pytestmark = pytest.mark.django_db
AT = "2026-11-02T15:00:00Z"
QUOTES = f"ticker,timestamp,yes_bid,yes_ask\nKXA-1,{AT},0.45,0.47\nKXB-1,{AT},0.10,0.12\n"


@pytest.fixture
def write(tmp_path):
    def write(content, name="rows.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        return str(path)

    return write


def run(*arguments):
    out = StringIO()
    call_command("importdata", *arguments, stdout=out)
    return out.getvalue()


def error(*arguments):
    with pytest.raises(CommandError) as caught:
        run(*arguments)
    assert not Import.objects.exists()
    assert not Market.objects.exists()
    return str(caught.value), caught.value.returncode


def quotes():
    rows = MarketSnapshot.objects.order_by("sequence")
    return [(row.market.ticker, row.yes_bid, row.yes_ask) for row in rows]


# --- what is written ------------------------------------------------------------------------------


def test_quotes_of_a_file_are_on_record_with_its_import(write):
    out = run("quotes", write(QUOTES))
    assert quotes() == [
        ("KXA-1", Decimal("0.45"), Decimal("0.47")),
        ("KXB-1", Decimal("0.10"), Decimal("0.12")),
    ]
    row = Import.objects.get()
    assert out.splitlines() == [
        f"Import {row.pk}: 2 rows of quotes, 2 markets, from rows.csv",
        "  from 2026-11-02 15:00:00Z to 2026-11-02 15:00:00Z",
        "--recording sampled is taken: a row proves the quote at its instant; on-change says that"
        " it stood until the next row as well",
        "Without --gap-after nobody claims a gap, however far apart rows are",
        "Sizes are unknown, so a backtest needs --assumed-size",
        "Fees are unknown of KXA, KXB, so a backtest needs them stated: --fee-type, and"
        " --fee-multiplier where it is not 1",
        "Backtests read what they name: runbacktest … --import NUMBER",
    ]
    assert (row.state, row.rows, row.kind, row.line) == ("finished", 2, "quotes", 3)
    assert row.said["columns"] == {
        "ticker": "ticker",
        "at": "timestamp",
        "bid": "yes_bid",
        "ask": "yes_ask",
    }
    assert row.account


def test_two_rows_of_one_second_are_both_on_record(write):
    run("quotes", write(f"{QUOTES}KXA-1,{AT},0.46,0.47\n"))
    assert MarketSnapshot.objects.filter(market__ticker="KXA-1").count() == 2


def test_trades_books_settlements_and_markets_are_imported_too(write):
    run("trades", write(f"ticker,time,price,count,taker_side\nKXA-1,{AT},0.4,3,yes\n"))
    run("books", write(f'ticker,time,bid_prices,bid_sizes\nKXA-1,{AT},"0.4,0.3","1,2"\n'))
    run("markets", write("ticker,event_ticker,title\nKXA-1,KXA,Above?\n"))
    run("settlements", write(f"ticker,result,settled_time\nKXA-1,yes,{AT}\n"))
    assert Trade.objects.get().yes_price == Decimal("0.4")
    assert OrderBookSnapshot.objects.get().bid_prices == [Decimal("0.4"), Decimal("0.3")]
    market = Market.objects.get()
    assert (market.title, market.event.ticker) == ("Above?", "KXA")
    assert market.revisions.get(result="yes").settlement_value == 1


def test_a_close_is_known_from_when_a_file_tells_and_else_to_nobody(write):
    header = "ticker,known_at,close_time\n"
    rows = (
        f"KXA-1,{AT},2026-11-03T00:00Z",
        f"KXA-2,{AT},2026-11-01T00:00Z",
        "KXA-3,,2026-11-03T00:00Z",
    )
    run("markets", write(header + "\n".join(rows) + "\n"))
    [revision] = MarketRevision.objects.all()
    assert (revision.market.ticker, revision.status) == ("KXA-1", "active")
    assert revision.known_at == datetime(2026, 11, 2, 15, tzinfo=UTC)
    assert revision.close_time == datetime(2026, 11, 3, tzinfo=UTC)
    assert Market.objects.filter(close_time__isnull=False).count() == 3


def test_the_files_of_a_folder_share_a_group(write, tmp_path):
    write(QUOTES, "data/b.csv")
    write(QUOTES.replace("0.45", "0.44"), "data/a.csv")
    out = run("quotes", str(tmp_path / "data"))
    rows = Import.objects.order_by("pk")
    assert [row.file.rpartition("/")[2] for row in rows] == ["a.csv", "b.csv"]
    assert rows[0].group == rows[1].group
    assert out.endswith(f"Undo them together: manage.py undoimport {rows[0].group}\n")


def test_a_file_that_is_imported_already_is_told_and_not_imported_again(write):
    path = write(QUOTES)
    run("quotes", path)
    assert "is import" in run("quotes", path)
    assert MarketSnapshot.objects.count() == 2


def test_a_file_that_was_read_in_another_way_names_the_import_and_its_flags(write):
    path = write(QUOTES)
    run("quotes", path, "--unit", "dollars")
    first = Import.objects.get()
    told = (
        f"  Import {first.pk} has read this file too, with --column at=timestamp --column"
        " ask=yes_ask --column bid=yes_bid --column ticker=ticker --unit dollars --scale yes; undo"
        f" one of them unless both are meant: manage.py undoimport {first.pk}\n"
    )
    again = ("quotes", path, "--column", "ask=")
    assert told in run(*again, "--dry-run")
    assert told in run(*again)
    assert Import.objects.count() == 2
    first.delete()
    assert "has read this file too" not in run(*again, "--dry-run")


def test_an_import_that_was_undone_is_not_said_to_have_read_a_file(write):
    path = write(QUOTES)
    run("quotes", path)
    Import.objects.update(state="undone")
    assert "has read this file too" not in run("quotes", path, "--column", "ask=", "--dry-run")


def test_fees_that_are_on_record_or_stated_are_not_missed(write):
    at = datetime(2026, 11, 1, tzinfo=UTC)
    FeeChange.objects.create(
        series=a_market("KXA-1").event.series, fee_type="quadratic", fee_multiplier=1,
        effective_at=at, known_at=at, recorded_at=at,
    )  # fmt: skip
    path = write(QUOTES)
    assert "Fees are unknown of KXB, so" in run("quotes", path, "--dry-run")
    stated = ("--fee-type", "quadratic", "--recording", "sampled", "--gap-after", "60")
    out = run("quotes", path, *stated)
    assert not any(word in out for word in ("Fees are unknown", "is taken", "Without --gap"))


def test_trades_and_settlements_need_no_fees_and_no_recording(write):
    out = run("settlements", write("ticker,result\nKXA-1,no\n"))
    assert len(out.splitlines()) == 2


def test_refused_rows_go_to_a_file_with_line_column_and_reason(write, tmp_path):
    refused = tmp_path / "refused.csv"
    content = f"{QUOTES}KXA-1,{AT},x,0.5\nKXA-1,{AT},0.4"
    out = run("quotes", write(content), "--refused", str(refused))
    assert f"2 rows refused, listed in {refused}" in out
    with refused.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["line"], row["column"], row["text"]) for row in rows] == [
        ("rows.csv", "4", "yes_bid", "x"),
        ("rows.csv", "5", "", f"KXA-1,{AT},0.4"),
    ]
    assert "ends within this line" in rows[1]["reason"]
    assert Import.objects.get().refused == 2


def test_without_refused_rows_there_is_no_file_of_them(write, tmp_path):
    run("quotes", write(QUOTES), "--refused", str(tmp_path / "refused.csv"))
    assert not (tmp_path / "refused.csv").exists()


def test_an_interrupted_import_goes_on_without_loss_and_without_doubles(
    write, tmp_path, monkeypatch
):
    monkeypatch.setattr(CsvFile, "piece", 100)
    lines = [f"KXA-1,2026-11-02T15:00:{n:02},0.4{n:02},0.5" for n in range(50)]
    lines.insert(20, f"KXA-1,{AT},x,0.5")
    path = write("ticker,timestamp,yes_bid,yes_ask\n" + "\n".join(lines) + "\n")
    arguments = ("quotes", path, "--time-zone", "UTC", "--refused", str(tmp_path / "refused.csv"))
    written: list[RowCounts] = []
    write_batch = ImportWriter.write

    def stop(writer, batch):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(write_batch(writer, batch))

    with monkeypatch.context() as patch:
        patch.setattr(ImportWriter, "write", stop)
        with pytest.raises(CommandError, match="same command again"):
            run(*arguments)
    row = Import.objects.get()
    assert row.state == "interrupted"
    assert 0 < row.rows < 50
    run(*arguments)
    row.refresh_from_db()
    assert (row.state, row.rows, row.refused) == ("finished", 50, 1)
    assert MarketSnapshot.objects.count() == 50
    assert (tmp_path / "refused.csv").read_text().count("\n") == 2


def test_what_the_rows_prove_and_the_fees_are_kept_with_the_import(write):
    run(
        "quotes", write(QUOTES), "--recording", "on-change", "--gap-after", "600",
        "--fee-type", "quadratic", "--fee-multiplier", "0.5",
    )  # fmt: skip
    said = Import.objects.get().said
    assert (said["recording"], said["gap_after"]) == ("on-change", 600)
    assert (said["fee_type"], said["fee_multiplier"]) == ("quadratic", "0.5")


# --- dry run --------------------------------------------------------------------------------------


def test_a_dry_run_shows_how_a_file_is_understood_and_writes_nothing(write, tmp_path):
    content = f"{QUOTES}KXA-1,{AT},x,0.5\nKXA-1,{AT},0.45,0.47\n".replace(
        "yes_ask", "yes_ask,note", 1
    )
    content = "\n".join(
        line if n == 0 else f"{line},hello" for n, line in enumerate(content.splitlines())
    )
    out = run("quotes", write(f"{content}\n"), "--dry-run", "--unit", "dollars")
    assert [line.split(": ", 1)[1] for line in out.splitlines()[:1]] == [
        "2 rows of quotes, 2 markets"
    ]
    assert "line 2  KXA-1  2026-11-02 15:00:00Z  yes_bid 0.45  yes_ask 0.47" in out
    assert "columns: ticker=ticker, at=timestamp, bid=yes_bid, ask=yes_ask" in out
    assert "columns that are not read: note" in out
    assert "refused: 1 row, line 4: yes_bid: is not a price" in out
    assert "left out: 1 row, line 5: repeating an earlier row" in out
    assert out.endswith("Nothing is written.\n")
    assert not Import.objects.exists()
    assert not Market.objects.exists()


def test_a_dry_run_shows_trades_books_and_settlements_in_words(write):
    trades = write(f"ticker,time,price,count,taker_side\nKXA-1,{AT},0.4,3,no\n", "t.csv")
    assert "yes_price 0.4  count 3  taker_side no" in run("trades", trades, "--dry-run")
    books = write(f'ticker,time,ask_prices,ask_sizes\nKXA-1,{AT},"0.4,0.3","1,2.5"\n', "b.csv")
    assert "bids none  asks 0.3 × 2.5, 0.4 × 1" in run("books", books, "--dry-run")
    results = write("ticker,result\nKXA-1,no\n", "s.csv")
    assert "settlement_value 0  result no" in run("settlements", results, "--dry-run")


def test_the_time_of_the_rows_is_told_by_utc_and_by_the_clock_of_the_file(write):
    content = "ticker,time,bid\nKXA-1,2026-11-02 10:00:00,0.4\nKXA-1,2026-11-02 11:30:00,0.5\n"
    arguments = ("quotes", write(content), "--time-zone", "America/New_York")
    told = (
        "  from 2026-11-02 15:00:00Z to 2026-11-02 16:30:00Z\n"
        "  by the clock of America/New_York from 2026-11-02 10:00:00 to 2026-11-02 11:30:00\n"
    )
    assert told in run(*arguments, "--dry-run")
    assert told in run(*arguments)


def test_a_clock_that_was_set_back_is_told_with_its_line(write):
    content = "ticker,time,bid\n" + "".join(
        f"KXA-1,2026-11-01 {time},0.4\n" for time in ("01:30", "01:10", "02:30")
    )
    out = run("quotes", write(content), "--time-zone", "America/New_York", "--dry-run")
    assert "KXA-1: the clock was set back before line 3, as the order of rows shows" in out


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "flags", "message"),
    [
        ("quotes", ["--column", "bid"], "--column: 'bid' is not FIELD=COLUMN"),
        ("quotes", ["--column", "bid=x", "--column", "bid=y"], "--column: bid is given twice"),
        ("quotes", ["--column", "bud=yes_bid"], "--column: 'bud' is no field of quotes: ticker"),
        ("quotes", ["--column", "bid=nothing"], "--column: rows.csv has no column 'nothing'"),
        ("quotes", ["--time-zone", "Mars/Olympus"], "--time-zone: 'Mars/Olympus' is no time zone"),
        ("quotes", ["--time-zone", "../etc"], "--time-zone: '../etc' is no time zone"),
        ("quotes", ["--ticker", "KX A"], "--ticker: 'KX A' is not a ticker"),
        ("quotes", ["--fee-multiplier", "2"], "--fee-multiplier: needs --fee-type"),
        ("quotes", ["--fee-type", "quadratic", "--fee-multiplier", "much"],
         "--fee-multiplier: 'much' is not a number"),
        ("quotes", ["--fee-type", "quadratic", "--fee-multiplier", "NaN"],
         "--fee-multiplier: NaN is not a fee multiplier"),
        ("quotes", ["--preset", "predictiondata"],
         "--preset: rows.csv has no column ask_price, bid_price, local_timestamp"),
        ("books", ["--preset", "bot-log"], "--preset: bot-log has no books, but quotes"),
        ("trades", ["--recording", "sampled"], "--recording: trades are no observations"),
        ("trades", ["--gap-after", "5"], "--gap-after: trades are no observations"),
        ("trades", ["--sizes", "unknown"], "--sizes: trades have no sizes that may be unknown"),
        ("settlements", ["--scale", "no"], "--scale: settlements have no prices of a side"),
        ("trades", [], "--column: rows.csv has no column for price or no_price"),
    ],
)  # fmt: skip
def test_a_flag_that_makes_no_sense_is_refused_by_name(write, kind, flags, message):
    text, code = error(kind, write(QUOTES), *flags)
    assert text.startswith(message)
    assert code == 2


@pytest.mark.parametrize("flag", ["--unit", "--scale", "--time-format", "--sizes", "--preset",
                                  "--recording", "--fee-type", "--gap-after"])  # fmt: skip
def test_a_word_that_a_flag_does_not_know_is_refused(write, flag):
    with pytest.raises(CommandError, match=flag):
        run("quotes", write(QUOTES), flag, "nonsense")


def test_one_bad_file_of_many_keeps_all_from_being_written(write, tmp_path):
    write(QUOTES, "data/a.csv")
    write(QUOTES.replace("0.47", "47"), "data/b.csv")
    text, _ = error("quotes", str(tmp_path / "data"))
    assert text.startswith("--unit: b.csv, line 2, column yes_ask: 47 is over a dollar")


def test_a_file_of_which_nothing_can_be_read_is_refused(write):
    text, code = error("quotes", write(f"ticker,time,bid\nKXA-1,{AT},x\nKXA-1,{AT},y\n"))
    assert text == "rows.csv: all 2 rows refused; line 2: bid: is not a price"
    assert code == 2


def test_a_file_that_is_no_list_of_refused_rows_is_left_alone(write):
    path = write(QUOTES)
    text, _ = error("quotes", path, "--refused", path)
    assert text == f"--refused: {path} is there and is no file of refused rows"


def test_a_file_of_refused_rows_that_cannot_be_written_is_refused_before_anything_is(
    write, tmp_path
):
    refused = tmp_path / "rows.csv" / "refused.csv"  # the data is no folder
    text, code = error("quotes", write(f"{QUOTES}KXA-1,{AT},x,\n"), "--refused", str(refused))
    assert text.startswith(f"--refused: {refused}: ")
    assert code == 2


# --- mapping files --------------------------------------------------------------------------------


def test_a_mapping_file_says_what_flags_say(write):
    content = "market,when,b,n\nKXA-1,2026-11-02 10:00:00,45,53\n"
    mapping = write(
        "# A log of mine\ncolumns:\n  at: when\n  bid: b\n  no_bid: 'n'\n"
        "unit: cents\ntime-zone: America/New_York\n",
        "mapping.yaml",
    )
    run("quotes", write(content), "--mapping", mapping)
    row = MarketSnapshot.objects.get()
    assert (row.yes_bid, row.yes_ask) == (Decimal("0.45"), Decimal("0.47"))
    assert row.timestamp == datetime(2026, 11, 2, 15, tzinfo=UTC)


def test_a_flag_counts_before_the_mapping_file(write):
    mapping = write("unit: cents\ncolumns: {bid: yes_ask, ask: ~}\n", "mapping.yaml")
    run(
        "quotes",
        write(QUOTES),
        "--mapping",
        mapping,
        "--unit",
        "dollars",
        "--column",
        "bid=yes_bid",
    )
    assert quotes()[0] == ("KXA-1", Decimal("0.45"), None)


def test_the_word_no_is_taken_as_it_is_written(write):
    mapping = write("scale: no\n", "mapping.yaml")
    content = f"ticker,time,bid,ask\nKXA-1,{AT},0.2,0.25\n"
    run("quotes", write(content), "--mapping", mapping)
    assert quotes() == [("KXA-1", Decimal("0.75"), Decimal("0.80"))]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("unit: pounds\n", "--unit: 'pounds' is none of dollars, cents"),
        ("unit: cents\nspeed: 3\n", "mapping.yaml, line 2, column 1: 'speed' is none of columns"),
        ("columns: [a, b]\n", "mapping.yaml, line 1, column 10: names and values are expected"),
        ("unit: cents\nunit: dollars\n", "mapping.yaml, line 2, column 1: 'unit' stands here"),
        ("columns:\n  bid: [x]\n", "mapping.yaml, line 2, column 8: one value is expected"),
        ("unit: 'cents\n", "mapping.yaml, line 2, column 1: found unexpected end of stream"),
        ("- unit\n", "mapping.yaml, line 1, column 1: names and values are expected"),
        ("", "mapping.yaml, line 1: names and values are expected"),
    ],
)
def test_a_mapping_file_that_makes_no_sense_is_refused_by_its_place(write, content, message):
    text, _ = error("quotes", write(QUOTES), "--mapping", write(content, "mapping.yaml"))
    assert text.startswith(message)


def test_a_mapping_file_that_is_not_there_is_refused(write, tmp_path):
    text, _ = error("quotes", write(QUOTES), "--mapping", str(tmp_path / "none.yaml"))
    assert text.startswith("--mapping: ")
    assert "No such file" in text
