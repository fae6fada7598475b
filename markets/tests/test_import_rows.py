"""Rows of imported files: each value in the database's units, or refused by line and column."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalshi_insights.bad_input import BadInput
from markets.importing.parsed_rows import MISSING, NUMBERS, TEXTS
from markets.importing.reading.description import Description
from markets.importing.reading.preview import described_rows
from markets.importing.reading.seen_rows import SeenRows, hashes_of
from markets.importing.reading.source_file import SourceFile
from markets.models.imports import Kind

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
AT = "2026-11-02T15:00:00Z"
MICROSECONDS = 1_793_631_600_000_000
QUOTES = "ticker,timestamp,yes_bid,yes_ask\n"


@pytest.fixture
def read(tmp_path):
    """Write a file, look at it as a whole and return its rows and refusals."""

    def read(content, kind="quotes", name="rows.csv", **said):
        path = tmp_path / name
        if isinstance(content, pd.DataFrame):
            content.to_parquet(path)
        else:
            path.write_text(content)
        description = Description(kind=Kind(kind), **said)
        description.check()
        file = SourceFile(path, description, now=NOW)
        survey = file.survey()
        batches = list(file.rows())
        assert survey.rows == sum(len(batch.rows.lines) for batch in batches)
        refused = [row for batch in batches for row in batch.refused]
        assert survey.refused == len(refused)
        [batch] = batches
        return batch.rows, refused, survey

    return read


@pytest.fixture
def refusals(read):
    """Return what is refused of a file of quotes with these rows, as (line, column, reason)."""

    def refusals(*lines, header=QUOTES, kind="quotes", **said):
        _, refused, _ = read(header + "\n".join(lines) + "\n", kind, **said)
        return [(row.line, row.column, row.reason) for row in refused]

    return refusals


@pytest.fixture
def error(read):
    def error(content, kind="quotes", **said):
        with pytest.raises(BadInput) as caught:
            read(content, kind, **said)
        return str(caught.value)

    return error


def numbers(rows, *names):
    return [tuple(int(rows.numbers[name][n]) for name in names) for n in range(len(rows.lines))]


def quotes(rows):
    return numbers(rows, "yes_bid", "yes_ask")


# --- quotes ---------------------------------------------------------------------------------------


def test_quotes_are_read_in_the_units_of_the_database(read):
    rows, refused, _ = read(
        "ticker,timestamp,yes_bid,yes_ask,yes_bid_size,yes_ask_size,last_price,volume,open_interest"
        f"\nKXA-1,{AT},0.45,0.4711,10,2.5,0.46,1000,20\n"
    )
    assert refused == []
    assert (rows.tickers, rows.market.tolist(), rows.lines.tolist()) == (["KXA-1"], [0], [2])
    assert rows.at.tolist() == [MICROSECONDS]
    assert numbers(rows, *NUMBERS[Kind.QUOTES]) == [(4500, 4711, 1000, 250, 4600, 100000, 2000)]


def test_what_a_file_does_not_tell_is_missing(read):
    rows, _, _ = read(f"{QUOTES}KXA-1,{AT},0.45,\nKXA-1,{AT},NaN,0.5\n")
    assert quotes(rows) == [(4500, MISSING), (MISSING, 5000)]
    assert numbers(rows, "yes_bid_size", "volume") == [(MISSING, MISSING)] * 2


def test_nobody_quotes_a_side_at_zero_or_a_dollar_or_without_contracts(read):
    rows, refused, _ = read(
        "ticker,timestamp,yes_bid,yes_ask,yes_bid_size,yes_ask_size,last_price\n"
        f"KXA-1,{AT},0,1.00,5,5,0\nKXA-1,{AT},0.4,0.6,0,7,0.5\n"
    )
    names = ("yes_bid", "yes_ask", "yes_bid_size", "yes_ask_size", "last_price")
    assert refused == []
    assert numbers(rows, *names) == [(MISSING,) * 5, (MISSING, 6000, MISSING, 700, 5000)]


def test_floats_that_were_computed_mean_the_price_beside_them(read):
    rows, refused, _ = read(f"{QUOTES}KXA-1,{AT},0.30000000000000004,0.9999999999999999\n")
    assert (quotes(rows), refused) == ([(3000, MISSING)], [])


def test_cents_are_read_with_their_unit(read):
    rows, _, _ = read(f"{QUOTES}KXA-1,{AT},45,47.25\n", unit="cents")
    assert quotes(rows) == [(4500, 4725)]


def test_asks_may_be_given_as_bids_of_the_other_side(read):
    rows, _, _ = read(
        f"ticker,ts,yes_bid,no_bid,no_bid_size\nKXA-1,{AT},45,52,7\nKXA-1,{AT},44,,\n", unit="cents"
    )
    names = ("yes_bid", "yes_ask", "yes_ask_size")
    assert numbers(rows, *names) == [(4500, 4800, 700), (4400, MISSING, MISSING)]


def test_quotes_of_the_no_side_are_complemented(read):
    rows, _, _ = read(
        f"ticker,timestamp,bid,ask,bid_size,ask_size,last_price\nKXA-1,{AT},0.2,0.25,3,4,0.22\n",
        scale="no",
    )
    names = ("yes_bid", "yes_ask", "yes_bid_size", "yes_ask_size", "last_price")
    assert numbers(rows, *names) == [(7500, 8000, 400, 300, 7800)]


def test_both_sides_of_one_offer_must_make_a_dollar(refusals):
    header = "ticker,timestamp,yes_bid,no_ask\n"
    assert refusals(f"KXA-1,{AT},0.45,0.55", f"KXA-1,{AT},0.45,0.56", header=header) == [
        (3, "yes_bid", "and no_ask do not make a dollar")
    ]


@pytest.mark.parametrize(
    ("price", "reason"),
    [
        ("abc", "is not a price"),
        ("0x1", "is not a price"),
        ("1e400", "is not a price"),
        ("inf", "is not a price"),
        ("$0.45", "is not a price"),
        ("0.12345", "is finer than a hundredth of a cent"),
        ("-0.0001", "is negative"),
        ("-1", "is negative"),
        ("1.0001", "is over a dollar"),
        ("1e300", "is over a dollar"),
    ],
)
def test_a_price_that_makes_no_sense_refuses_its_row(refusals, price, reason):
    rows = (f"KXA-1,{AT},0.4,0.5", f"KXA-1,{AT},{price},0.6")
    assert refusals(*rows, unit="dollars") == [(3, "yes_bid", reason)]


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ("many", "is not a count"),
        ("1.005", "is finer than a hundredth of a contract"),
        ("-3", "is negative"),
        ("1e13", "is more than there can be"),
        ("1e300", "is more than there can be"),
    ],
)
def test_a_size_that_makes_no_sense_refuses_its_row(refusals, size, reason):
    header = "ticker,timestamp,yes_bid,yes_bid_size\n"
    assert refusals(f"KXA-1,{AT},0.4,{size}", header=header) == [(2, "yes_bid_size", reason)]


@pytest.mark.parametrize("ticker", ["KX A", "KX/A", "-KXA", "K" * 201, "KXA,1"])
def test_what_is_no_ticker_refuses_its_row(refusals, ticker):
    assert refusals(f'"{ticker}",{AT},0.4,0.5') == [(2, "ticker", "is not a ticker")]


def test_a_missing_ticker_and_a_missing_time_refuse_their_rows(refusals):
    assert refusals(f",{AT},0.4,0.5", "KXA-1,,0.4,0.5") == [
        (2, "ticker", "is missing"),
        (3, "timestamp", "is missing"),
    ]


def test_the_first_fault_of_a_row_is_told_with_its_value(read):
    _, refused, _ = read(f"{QUOTES}KXA-1,{AT},x,y\n")
    assert [(row.column, row.text) for row in refused] == [("yes_bid", "x")]


def test_rows_that_are_refused_take_no_ticker_along(read):
    rows, _, survey = read(f"{QUOTES}KXA-1,{AT},x,\nKXB-1,{AT},0.4,\n")
    assert (rows.tickers, rows.market.tolist()) == (["KXB-1"], [0])
    assert survey.tickers == {"KXB-1"}


def test_two_rows_of_one_second_both_stay_and_a_repeated_row_is_told(read):
    row = f"KXA-1,{AT},0.4,0.5\n"
    rows, _, survey = read(f"{QUOTES}{row}KXA-1,{AT},0.41,0.5\n{row}KXB-1,{AT},0.4,0.5\n")
    assert rows.lines.tolist() == [2, 3, 5]
    assert (survey.duplicates.count, survey.duplicates.lines) == (1, [4])


def test_one_market_may_be_named_for_a_whole_file(read):
    rows, _, _ = read(f"time,bid,ask\n{AT},0.4,0.5\n", ticker="KXA-1")
    assert rows.tickers == ["KXA-1"]
    rows, _, _ = read(f"time,bid,ask\n{AT},0.4,0.5\n", name="KXB-26.5.csv", ticker_from_name=True)
    assert rows.tickers == ["KXB-26.5"]


def test_a_name_of_a_file_that_is_no_ticker_is_refused(error):
    message = error(f"time,bid\n{AT},0.4\n", name="my log.csv", ticker_from_name=True)
    assert message == "--ticker-from-name: 'my log' is not a ticker"
    assert error(f"time,bid\n{AT},0.4\n", ticker="KX A") == "--ticker: 'KX A' is not a ticker"


def test_sizes_may_be_said_to_be_unknown(read, error):
    content = f"ticker,time,bid,bid_size\nKXA-1,{AT},0.4,0\n"
    rows, _, _ = read(content, sizes="unknown")
    assert numbers(rows, "yes_bid", "yes_bid_size") == [(4000, MISSING)]
    assert error(f"{QUOTES}KXA-1,{AT},0.4,0.5\n", sizes="known").startswith("--sizes: ")


# --- what a flag settles --------------------------------------------------------------------------


def test_prices_over_a_dollar_ask_for_the_unit(error):
    assert error(f"{QUOTES}KXA-1,{AT},0.4,0.5\nKXA-1,{AT},45,47\n") == (
        "--unit: rows.csv, line 3, column yes_bid: 45 is over a dollar; state the unit:"
        " --unit cents, or --unit dollars to refuse such rows"
    )


def test_prices_that_may_be_either_unit_ask_for_it(error, read):
    content = f"{QUOTES}KXA-1,{AT},0,1\n"
    assert error(content).startswith("--unit: rows.csv: all prices are 0 or 1")
    assert quotes(read(content, unit="cents")[0]) == [(MISSING, 100)]


def test_dollars_that_are_called_cents_are_refused(error):
    message = error(f"{QUOTES}KXA-1,{AT},0.4,0.5\n", unit="cents")
    assert (
        message
        == "--unit: rows.csv: no price is above a cent; if they are dollars, give --unit dollars"
    )


@pytest.mark.parametrize("row", ["45,47", "45,47.5", "1,2"])
def test_cents_that_are_called_dollars_are_refused(error, row):
    message = error(f"{QUOTES}KXA-1,{AT},{row}\nKXA-1,{AT},1,46\n", unit="dollars")
    assert message.startswith("--unit: rows.csv: ")
    assert message.endswith(" prices are over a dollar, as those in cents are; give --unit cents")


def test_a_few_prices_over_a_dollar_are_refused_row_by_row(refusals):
    rows = (f"KXA-1,{AT},0.4,0.5", f"KXA-1,{AT},0.41,47", f"KXA-1,{AT},0.41,470")
    assert refusals(*rows, unit="dollars") == [
        (3, "yes_ask", "is over a dollar; if it is in cents, give --unit cents"),
        (4, "yes_ask", "is over a dollar"),
    ]


def test_bids_above_asks_ask_for_the_scale(error, read):
    content = f"{QUOTES}KXA-1,{AT},0.4,0.5\nKXA-1,{AT},0.6,0.38\n"
    message = error(content)
    assert message.startswith("--scale: rows.csv: in 1 of 2 rows the bid is above the ask")
    assert "first in line 3" in message
    assert quotes(read(content, scale="yes")[0])[1] == (6000, 3800)


def test_a_column_that_is_stated_for_a_field_is_of_no_other_by_its_name(read):
    content = f"ticker,time,bid,ask\nKXA-1,{AT},0.6,0.38\n"
    assert quotes(read(content, columns={"no_bid": "ask"})[0]) == [(6000, 6200)]


def test_books_whose_bids_are_above_their_asks_ask_for_the_scale(error, read):
    content = f"{BOOKS}KXA-1,{AT},0.6,1,0.38,1\nKXA-1,{AT},0.3,1,,\n"
    message = error(content, "books")
    assert message.startswith("--scale: rows.csv: in 1 of 1 rows the bid is above the ask")
    assert "--column no_bid_prices=NAME" in message
    assert levels(read(content, "books", scale="yes")[0], "asks") == [[(3800, 100)], []]


def test_a_book_that_is_crossed_now_and_then_asks_for_nothing(read):
    rows = [f"KXA-1,{AT},0.4,0.{50 + n % 40}{n:02}" for n in range(100)]
    content = QUOTES + "\n".join([*rows, f"KXA-1,{AT},0.6,0.38"]) + "\n"
    assert len(read(content)[0].lines) == 101


def test_times_without_a_zone_ask_for_it(error, read):
    content = f"{QUOTES}KXA-1,{AT},0.4,0.5\nKXA-1,2026-11-02 10:00:00,0.4,0.5\n"
    assert error(content).startswith(
        "--time-zone: rows.csv, line 3, column timestamp: 2026-11-02 10:00:00 has no time zone"
    )
    rows, _, _ = read(content, time_zone="America/New_York")
    assert rows.at.tolist() == [MICROSECONDS]  # line 3 repeats line 2


def test_columns_that_are_missing_or_unknown_are_named_with_those_there_are(error):
    content = f"ticker,when,yes_bid\nKXA-1,{AT},0.4\n"
    message = error(content)
    assert message.startswith("--column: rows.csv has no column for at")
    assert message.endswith("the columns are ticker, when, yes_bid")
    assert error(content, columns={"at": "wen"}).startswith(
        "--column: rows.csv has no column 'wen'"
    )
    assert error(content, columns={"when": "when"}).startswith("--column: 'when' is no field of")
    assert "--ticker" in error(f"time,bid\n{AT},0.4\n")


def test_two_columns_of_one_name_are_refused(error):
    message = error(f"ticker,time,bid,bid\nKXA-1,{AT},0.4,0.5\n")
    assert message == "rows.csv, line 1: two columns are called 'bid'"


def test_a_name_of_a_column_that_cannot_be_kept_is_refused(error):
    message = error(f"ticker,time,b\0id\nKXA-1,{AT},0.4\n")
    assert message == "rows.csv, line 1: the name 'b\\x00id' cannot be kept"


@pytest.mark.parametrize("name", ["Yes Bid", "yesBid", "YES-BID", "yes_bid ($)"])
def test_columns_are_known_however_their_words_are_joined(read, name):
    assert quotes(read(f"ticker,time,{name}\nKXA-1,{AT},0.4\n")[0]) == [(4000, MISSING)]


def test_columns_may_be_named_and_left_out(read):
    content = f"ticker,when,yes_bid,best ask\nKXA-1,{AT},0.4,0.5\n"
    rows, _, _ = read(content, columns={"at": "when", "ask": "best ask", "bid": ""})
    assert quotes(rows) == [(MISSING, 5000)]


def test_columns_of_the_no_side_contradict_the_scale_of_no(error):
    message = error(f"ticker,time,bid,no_bid\nKXA-1,{AT},0.4,0.5\n", scale="no")
    assert message.startswith("--scale: no_bid is of the NO side by its name")


# --- times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-02T15:00:00Z",
        "2026-11-02 15:00:00+00:00",
        "2026-11-02 15:00:00.000000+00",
        "2026-11-02T10:00:00.000-0500",
        "1793631600",
        "1793631600.0",
        "1793631600000",
        "1793631600000000",
        "1793631600000000999",
    ],
)
def test_times_are_read_however_they_are_written(read, text):
    rows, _, _ = read(f"{QUOTES}KXA-1,{text},0.4,0.5\n")
    assert rows.at.tolist() == [MICROSECONDS]


@pytest.mark.parametrize(
    ("text", "form", "reason"),
    [
        ("yesterday", "", "is not a time"),
        ("2026-02-30T00:00:00Z", "", "is not a time"),
        ("2026-11-02T25:00:00Z", "", "is not a time"),
        ("11/02/2026 15:00", "", "is not a time"),
        ("-5", "", "is not a time"),
        ("99999999999999999999", "", "is not a time"),
        ("1793631600", "iso", "is not a time in the format iso"),
        (AT, "ms", "is not a time in the format ms"),
        ("1793631600000", "s", "is not in the exchange's time"),
        ("1793631600", "ms", "is not in the exchange's time"),
        ("2017-12-31T00:00:00Z", "", "is not in the exchange's time"),
        ("2026-11-30T12:06:00Z", "", "is in the future"),
        ("2026-12-02T00:00:00Z", "", "is in the future"),
    ],
)
def test_what_is_no_time_refuses_its_row(refusals, text, form, reason):
    rows = (f"KXA-1,{text},0.4,0.5", f"KXA-1,{text},0.4,0.5")
    assert refusals(rows[0], time_format=form) == [(2, "timestamp", reason)]


def test_a_time_to_come_names_the_zone_that_may_be_wrong(refusals):
    rows = (f"KXA-1,{AT},0.4,0.5", "KXA-1,2026-11-30 10:00:00,0.4,0.5")
    zone = "America/New_York"
    reason = f"is in the future; {zone} may be the wrong zone"
    assert refusals(*rows, time_zone=zone) == [(3, "timestamp", reason)]
    assert refusals(*rows, time_zone="UTC") == []


# The clocks of New York were set back on 2026-11-01 at 06:00 UTC and forward on 2026-03-08.
SIX_UTC = 1_793_512_800_000_000
HALF_AN_HOUR = 30 * 60 * 1_000_000


def clock_rows(*times, ticker="KXA-1"):
    rows = [f"{ticker},{time},0.4,0.5{n:02}" for n, time in enumerate(times)]
    return QUOTES + "\n".join(rows) + "\n"


def test_the_order_of_rows_tells_which_of_two_hours_it_is(read):
    content = clock_rows(
        "2026-11-01 00:30", "2026-11-01 01:30", "2026-11-01 01:00", "2026-11-01 01:30",
        "2026-11-01 02:00",
    )  # fmt: skip
    rows, refused, survey = read(content, time_zone="America/New_York")
    assert refused == []
    steps = [(at - SIX_UTC) // HALF_AN_HOUR for at in rows.at.tolist()]
    assert steps == [-3, -1, 0, 1, 2]
    assert survey.clock_falls == [("KXA-1", 4)]


def test_without_a_clock_that_is_seen_to_fall_back_the_hour_is_refused(refusals):
    rows = clock_rows("2026-11-01 00:30", "2026-11-01 01:30", "2026-11-01 02:00").splitlines()
    assert refusals(*rows[1:], time_zone="America/New_York") == [
        (3, "timestamp", "came twice in America/New_York, and the order of rows does not tell"
         " which it is")
    ]  # fmt: skip


def test_rows_out_of_order_settle_no_hour(refusals):
    times = ("2026-11-01 02:30", "2026-11-01 01:30", "2026-11-01 01:00", "2026-11-01 00:30")
    rows = clock_rows(*times).splitlines()[1:]
    assert [line for line, _, _ in refusals(*rows, time_zone="America/New_York")] == [3, 4]


def test_each_market_has_an_order_of_its_own(read):
    content = clock_rows("2026-11-01 01:30", "2026-11-01 01:10") + "".join(
        f"KXB-1,2026-11-01 01:{minute},0.4,0.5\n" for minute in (20, 40)
    )
    rows, refused, _ = read(content, time_zone="America/New_York")
    assert rows.lines.tolist() == [2, 3]
    assert [row.line for row in refused] == [4, 5]


def test_an_hour_that_the_clock_skipped_is_refused(refusals):
    rows = clock_rows("2026-03-08 01:59:59", "2026-03-08 02:30", "2026-03-08 03:00").splitlines()
    assert refusals(*rows[1:], time_zone="America/New_York") == [
        (3, "timestamp", "is an hour that America/New_York skipped")
    ]


# --- Parquet --------------------------------------------------------------------------------------


def test_parquet_values_are_read_in_the_types_they_have(read):
    at = pd.Timestamp(AT)
    table = pd.DataFrame(
        {
            "ticker": pd.Categorical(["KXA-1", "KXB-1"]),
            "timestamp": [at, at],
            "yes_bid": [45, None],
            "yes_ask": pd.array([47, 48], "Int64"),
            "volume": [1.5, 2.0],
        }
    )
    rows, refused, _ = read(table, name="rows.parquet", unit="cents")
    assert (quotes(rows), refused) == ([(4500, 4700), (MISSING, 4800)], [])
    assert (rows.at.tolist(), rows.lines.tolist()) == ([MICROSECONDS] * 2, [1, 2])


def test_parquet_times_without_a_zone_ask_for_it(error, read):
    table = pd.DataFrame(
        {"ticker": ["KXA-1"], "timestamp": [pd.Timestamp("2026-11-02 10:00")], "bid": [0.4]}
    )
    assert error(table, name="rows.parquet").startswith("--time-zone: rows.parquet, line 1,")
    rows, _, _ = read(table, name="rows.parquet", time_zone="America/New_York")
    assert rows.at.tolist() == [MICROSECONDS]


# --- trades ---------------------------------------------------------------------------------------

TRADES = "ticker,created_time,trade_id,yes_price,count,taker_side\n"


def test_trades_are_read_in_the_units_of_the_database(read):
    rows, _, _ = read(f"{TRADES}KXA-1,{AT},t1,0.45,3,yes\nKXA-1,{AT},,0.46,0.5,\n", "trades")
    assert numbers(rows, *NUMBERS[Kind.TRADES]) == [(4500, 300, 1, 0), (4600, 50, MISSING, 0)]
    assert rows.texts == {"trade_id": ["t1", ""]}


def test_a_trade_may_tell_its_price_on_the_no_side(read):
    content = f"ticker,time,no_price,count,taker_side\nKXA-1,{AT},0.4,1,no\n"
    assert numbers(read(content, "trades")[0], "yes_price", "taker_side") == [(6000, 2)]
    content = f"ticker,time,price,count,taker_side\nKXA-1,{AT},0.4,1,bid\n"
    rows, _, _ = read(content, "trades", scale="no")
    assert numbers(rows, "yes_price", "taker_side") == [(6000, 2)]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("t1,,1,yes", ("yes_price", "is missing")),
        ("t1,0,1,yes", ("yes_price", "is no price between 0 and 1 dollar")),
        ("t1,1,1,yes", ("yes_price", "is no price between 0 and 1 dollar")),
        ("t1,0.4,0,yes", ("count", "is no count above 0")),
        ("t1,0.4,,yes", ("count", "is no count above 0")),
        ("t1,0.4,1,buy", ("taker_side", "is none of yes, no, bid, ask")),
    ],
)
def test_a_trade_that_makes_no_sense_is_refused(refusals, row, fault):
    rows = (f"KXA-1,{AT},{row}", f"KXA-1,{AT},t2,0.5,1,no")
    assert refusals(*rows, header=TRADES, kind="trades") == [(2, *fault)]


def test_trades_repeat_each_other_by_their_id_alone(read):
    content = f"{TRADES}KXA-1,{AT},,0.45,3,yes\nKXA-1,{AT},,0.45,3,yes\n"
    content += f"KXA-1,{AT},t1,0.45,3,yes\nKXA-1,{AT},t1,0.45,4,yes\nKXA-1,{AT},t2,0.45,3,yes\n"
    rows, _, survey = read(content, "trades")
    assert rows.lines.tolist() == [2, 3, 4, 6]
    assert survey.duplicates.lines == [5]


# --- books ----------------------------------------------------------------------------------------

BOOKS = "ticker,local_timestamp,bid_prices,bid_sizes,ask_prices,ask_sizes\n"


def levels(rows, side):
    counts, prices, sizes = rows.levels[side]
    pairs = list(zip(prices.tolist(), sizes.tolist(), strict=True))
    ends = np.cumsum(counts).tolist()
    return [pairs[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def test_books_have_their_levels_best_first(read):
    rows, _, _ = read(
        f'{BOOKS}KXA-1,{AT},"0.44,0.45","10,2","0.47,0.5","1,1.5"\nKXA-1,{AT},,,"[0.5]","[3]"\n',
        "books",
    )
    assert levels(rows, "bids") == [[(4500, 200), (4400, 1000)], []]
    assert levels(rows, "asks") == [[(4700, 100), (5000, 150)], [(5000, 300)]]


def test_levels_where_nobody_quotes_are_left_out(read):
    rows, _, _ = read(f'{BOOKS}KXA-1,{AT},"0.4,0","10,2","0.5,0.6,1","1,0,5"\n', "books")
    assert (levels(rows, "bids"), levels(rows, "asks")) == ([[(4000, 1000)]], [[(5000, 100)]])


def test_books_may_have_bids_of_both_sides(read):
    rows, _, _ = read(
        "ticker,time,bid_prices,bid_sizes,no_bid_prices,no_bid_sizes\n"
        f'KXA-1,{AT},0.4,1,"0.3,0.5","2,3"\n',
        "books",
    )
    assert levels(rows, "asks") == [[(5000, 300), (7000, 200)]]


@pytest.mark.parametrize(
    ("book", "fault"),
    [
        ('"0.4,0.3",1,,', ("bid_prices", "has not as many values as bid_sizes")),
        ('"0.4,x","1,2",,', ("bid_prices", "is not a price")),
        ('0.4,-1,,', ("bid_sizes", "is negative")),
        ('"0.4,0.4","1,2",,', ("bid_prices", "lists a price twice")),
    ],
)  # fmt: skip
def test_a_book_that_makes_no_sense_is_refused(refusals, book, fault):
    rows = (f"KXA-1,{AT},{book}", f"KXA-1,{AT},0.41,5,,")
    assert refusals(*rows, header=BOOKS, kind="books") == [(2, *fault)]


def test_books_in_parquet_may_be_lists_of_numbers(read):
    table = pd.DataFrame(
        {
            "ticker": ["KXA-1", "KXA-1"],
            "time": [AT, AT],
            "bid_prices": [[0.4, 0.3], []],
            "bid_sizes": [[1, 2], []],
        }
    )
    rows, _, _ = read(table, "books", name="books.parquet")
    assert levels(rows, "bids") == [[(4000, 100), (3000, 200)], []]


def test_prices_without_sizes_are_no_book(error):
    message = error(f"ticker,time,bid_prices\nKXA-1,{AT},0.4\n", "books")
    assert message == "--column: rows.csv has bid_prices but no bid_sizes"


# --- settlements and markets ----------------------------------------------------------------------


def test_results_and_values_tell_each_other(read):
    rows, _, survey = read(
        "ticker,settled_time,result,settlement_value\n"
        f"KXA-1,{AT},yes,\nKXB-1,,No,0\nKXC-1,{AT},,0.25\nKXD-1,,scalar,\nKXE-1,,,\nKXF-1,,,1\n",
        "settlements",
    )
    assert rows.texts["result"] == ["yes", "no", "scalar", "scalar", "yes"]
    assert rows.numbers["settlement_value"].tolist() == [1_000_000, 0, 250_000, MISSING, 1_000_000]
    assert rows.at.tolist() == [MICROSECONDS, MISSING, MICROSECONDS, MISSING, MISSING]
    assert survey.left_out == 1  # the market without a result


def test_a_result_that_contradicts_its_value_or_is_no_result_is_refused(refusals):
    header = "ticker,result,settlement_value\n"
    rows = ("KXA-1,yes,0.4", "KXA-2,perhaps,", "KXA-3,yes,1")
    assert refusals(*rows, header=header, kind="settlements") == [
        (2, "result", "contradicts settlement_value"),
        (3, "result", "is none of yes, no, scalar"),
    ]


def test_definitions_are_read_as_far_as_they_are_given(read):
    rows, _, _ = read(
        "ticker,event_ticker,title,floor_strike,close_time,result,mutually_exclusive\n"
        f'KXA-1,KXA,"Above 70°, or not?",70.50,{AT},yes,true\nKXA-2,,,,,,\n',
        "markets",
    )
    assert set(rows.texts) == set(TEXTS[Kind.MARKETS])
    assert set(rows.numbers) == set(NUMBERS[Kind.MARKETS])
    assert rows.texts["title"] == ["Above 70°, or not?", ""]
    assert rows.texts["floor_strike"] == ["70.50", ""]
    assert rows.numbers["close_time"].tolist() == [MICROSECONDS, MISSING]
    assert rows.numbers["mutually_exclusive"].tolist() == [1, MISSING]
    assert rows.at.tolist() == [MISSING, MISSING]


def test_definitions_that_make_no_sense_are_refused(refusals):
    header = "ticker,event_ticker,floor_strike,close_time,title\n"
    rows = ("KXA-1,K A,,,", "KXA-2,,high,,", "KXA-3,,,soon,", "KXA-4,,,,a\0b")
    assert refusals(*rows, header=header, kind="markets") == [
        (2, "event_ticker", "is not a ticker"),
        (3, "floor_strike", "is not a strike"),
        (4, "close_time", "is not a time"),
        (5, "title", "is no text that can be kept"),
    ]


# --- repeated rows --------------------------------------------------------------------------------


@given(
    batches=st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=12),
    longest=st.sampled_from([1, 4, 1000]),
)
def test_repeated_rows_are_found_in_any_batch_however_their_times_lie(batches, longest):
    seen, known = SeenRows(longest_run=longest), set()
    for batch in batches:
        values = np.array(batch, np.int64)
        expected = []
        for value in batch:
            expected.append(value in known)
            known.add(value)
        assert seen.repeated(hashes_of([values]), values % 7).tolist() == expected


# --- any input ------------------------------------------------------------------------------------

CELLS = st.sampled_from(
    [
        "", "KXA-1", "KXA-2", "0.4", "0.5", "45", "1", "0", "1e308", "-1", "nan", "yes", "no", "[",
        '"0.4,0.5"', '"1,2"', '"0.4,"', '"a\nb"', "\0", "é", "2026-11-01 01:30", "2026-11-01 01:10",
        "2026-03-08 02:30", AT, "1793631600", "9" * 25, "2026-02-30", "scalar", "=1+1", "\u0661",
    ]
)  # fmt: skip
LINES = st.lists(CELLS, min_size=4, max_size=7).map(",".join)
CONTENT = st.one_of(
    st.lists(st.one_of(CELLS, st.sampled_from(',\n"\r')), max_size=40).map("".join),
    st.lists(LINES, max_size=8).map("\n".join).map("{}\n".format),
)
HEADERS = {
    "quotes": "ticker,time,bid,ask",
    "books": "ticker,time,bid_prices,bid_sizes,ask_prices,ask_sizes",
    "trades": "ticker,time,trade_id,price,no_price,count,taker_side",
    "settlements": "ticker,time,result,settlement_value",
    "markets": "ticker,event_ticker,title,floor_strike,close_time,result,mutually_exclusive",
}


@given(
    kind=st.sampled_from(list(HEADERS)),
    content=CONTENT,
    said=st.fixed_dictionaries(
        {},
        optional={
            "time_zone": st.just("America/New_York"),
            "unit": st.sampled_from(["dollars", "cents"]),
            "time_format": st.sampled_from(["iso", "s", "ns"]),
        },
    ),
)
def test_whatever_a_file_has_is_read_or_refused(tmp_path_factory, kind, content, said):
    path = tmp_path_factory.mktemp("any") / "rows.csv"
    path.write_bytes(f"{HEADERS[kind]}\n{content}".encode())
    try:
        file = SourceFile(path, Description(kind=Kind(kind), **said), now=NOW)
        survey = file.survey()
    except BadInput:
        return
    batches = list(file.rows())
    assert sum(len(batch.rows.lines) for batch in batches) == survey.rows
    for batch in batches:
        assert list(described_rows(batch.rows)) is not None
        for name, numbers in batch.rows.numbers.items():
            assert (numbers >= MISSING).all(), name


@pytest.mark.parametrize("values", [[True, False], pd.to_datetime([AT, AT])])
def test_columns_of_other_types_than_numbers_and_texts_are_no_numbers(read, values):
    frame = pd.DataFrame({"ticker": "KX-A", "timestamp": AT, "yes_bid": values, "yes_ask": 0.5})

    _, refused, _ = read(frame, name="rows.parquet")

    assert [(each.line, each.column) for each in refused] == [(1, "yes_bid"), (2, "yes_bid")]


@pytest.mark.parametrize("name", ["ticker", "timestamp", "yes_bid"])
def test_lists_where_one_value_is_expected_are_refused_by_the_column(error, name):
    values = {"ticker": ["KX-A"], "timestamp": [AT], "yes_bid": [0.4], name: [[1, 2]]}
    message = error(pd.DataFrame(values), name="rows.parquet")
    assert message.startswith(f"rows.parquet, column {name}: has lists, and ")


def test_lists_of_lists_are_refused_by_the_column(error):
    values = {"ticker": ["KX-A"], "time": [AT], "bid_prices": [[[0.4]]], "bid_sizes": [[1]]}
    message = error(pd.DataFrame(values), "books", name="rows.parquet")
    assert message.startswith("rows.parquet, column bid_prices: has values of the type list")
