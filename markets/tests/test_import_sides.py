"""The sides of imported prices: a column that is of NO by its name is not taken for YES."""

from datetime import UTC, datetime

import pytest

from kalshi_insights.bad_input import BadInput
from markets.importing.reading.description import Description
from markets.importing.reading.side_names import Mapped
from markets.importing.reading.source_file import SourceFile
from markets.models.imports import Kind

AT = "2026-11-02T15:00:00Z"


@pytest.fixture
def opened(tmp_path):
    """Return a file with these columns of numbers beside its market and time."""

    def opened(*names, kind="quotes", scale="", **columns):
        path = tmp_path / "rows.csv"
        values = ",".join("0.4" for _ in names)
        path.write_text(f"ticker,time,{','.join(names)}\nKXA-1,{AT},{values}\n")
        said = Description(kind=Kind(kind), scale=scale, columns=columns)
        return SourceFile(path, said, now=datetime(2026, 11, 30, tzinfo=UTC))

    return opened


@pytest.fixture
def error(opened):
    def error(*names, **said):
        with pytest.raises(BadInput) as caught:
            opened(*names, **said)
        return str(caught.value)

    return error


@pytest.mark.parametrize(
    "name",
    ["no_bid", "no_ask", "NO bid", "noBid", "NOBid", "NObid", "nobid", "bid (no)", "bidNo", "askno",
     "best no", "No", "no_bid_price", "nobidprice", "buy_no", "price.no"],
)  # fmt: skip
def test_a_name_tells_that_a_column_is_of_no(name):
    assert Mapped("bid", name).side == "no"


@pytest.mark.parametrize(
    "name", ["yes_bid", "Yes Ask", "yesBid", "YESbid", "bid_yes", "yesbid", "price (YES)"]
)
def test_a_name_tells_that_a_column_is_of_yes(name):
    assert Mapped("bid", name).side == "yes"


@pytest.mark.parametrize(
    "name", ["bid", "best_bid", "nominal", "note", "notional", "anonymous_bid", "price", "yes_no"]
)
def test_a_name_may_tell_no_side(name):
    assert Mapped("bid", name).side == ""


@pytest.mark.parametrize(
    ("field", "column", "remedy"),
    [
        ("ask", "no_bid", "--column no_bid=no_bid"),
        ("bid", "no_bid", "--column no_bid=no_bid"),
        ("bid", "no_ask", "--column no_ask=no_ask"),
        ("ask", "NO bid", "--column no_bid=NO bid"),
        ("ask", "best no", "--column no_bid=best no, or --column no_ask=best no"),
        ("last_price", "no_last", "leave it out: --column last_price="),
        ("bid_size", "no_bid_size", "--column no_bid_size=no_bid_size"),
    ],
)
def test_a_column_of_no_is_refused_for_a_field_of_yes(error, field, column, remedy):
    message = error("yes_bid", column, **{field: column})
    assert message.startswith(f"--column: rows.csv: {field}={column} would take the NO side for")
    assert remedy in message
    assert message.endswith("if all prices are of NO, give --scale no")


def test_the_same_is_refused_of_trades_books_and_settlements(error):
    message = error("no_price", "count", kind="trades", price="no_price")
    assert "--column no_price=no_price, or if all prices are of NO, give --scale no" in message
    names = ("no_bid_prices", "no_bid_sizes")
    message = error(*names, kind="books", ask_prices=names[0], ask_sizes=names[1])
    assert "--column no_bid_prices=no_bid_prices" in message
    message = error("no_value", kind="settlements", settlement_value="no_value")
    assert message.endswith("leave it out: --column settlement_value=")


def test_prices_that_are_all_of_no_are_taken_with_the_scale(opened):
    file = opened("no_bid", "no_ask", scale="no", bid="no_bid", ask="no_ask")
    [rows] = file.rows()
    assert rows.rows.numbers["yes_bid"].tolist() == [6000]


def test_the_scale_of_yes_does_not_make_a_column_of_no_one_of_yes(error):
    assert error("no_bid", scale="yes", ask="no_bid").startswith("--column: rows.csv: ask=no_bid")


def test_a_column_of_yes_is_refused_for_a_field_of_no_unless_its_name_is_said_to_be_wrong(
    error, opened
):
    message = error("yes_bid", "yes_ask", no_bid="yes_ask")
    assert message.startswith("--column: rows.csv: no_bid=yes_ask would take the YES side for NO")
    assert "--column ask=yes_ask, or if its name is wrong, give --scale yes" in message
    [rows] = opened("yes_bid", "yes_ask", no_bid="yes_ask", scale="yes").rows()
    assert rows.rows.numbers["yes_ask"].tolist() == [6000]


def test_columns_of_yes_contradict_the_scale_of_no_unless_they_are_stated(error, opened):
    message = error("yes_bid", scale="no")
    assert message.startswith("--scale: rows.csv: yes_bid is of the YES side by its name")
    [rows] = opened("yes_bid", scale="no", bid="yes_bid").rows()
    assert rows.rows.numbers["yes_ask"].tolist() == [6000]


def test_the_size_of_a_bid_of_no_is_that_of_the_ask_of_yes(opened):
    file = opened("yes_ask", "no_bid_size", ask_size="no_bid_size", no_bid_size="")
    [rows] = file.rows()
    assert rows.rows.numbers["yes_ask_size"].tolist() == [40]
