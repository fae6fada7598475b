"""Streams of order books: whole ones, and the changes of single levels between them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import call_command
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_insights.bad_input import BadInput
from markets.importing.reading import source_file
from markets.importing.reading.csv_file import CsvFile
from markets.importing.reading.description import Description
from markets.importing.reading.source_file import SourceFile
from markets.models import MarketSnapshot, OrderBookSnapshot
from markets.models.imports import Kind
from markets.models.observations import microseconds

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOW = datetime(2026, 11, 30, tzinfo=UTC)
COLUMNS = (
    "ticker", "local_timestamp", "message_type", "price_level_update_price",
    "price_level_update_quantity", "price_level_update_side", "snapshot_bid_prices",
    "snapshot_bid_sizes", "snapshot_ask_prices", "snapshot_ask_sizes",
)  # fmt: skip


def nanoseconds(seconds: float) -> int:
    return microseconds(NOON + timedelta(seconds=seconds)) * 1000


def listed(numbers) -> str:
    return '"' + ",".join(str(each) for each in numbers) + '"'


def whole(ticker, seconds, bids=(), asks=()):
    """Write a row with a whole book, whose levels are pairs of a price and a size."""
    sides = [listed(level[n] for level in side) for side in (bids, asks) for n in (0, 1)]
    return f"{ticker},{nanoseconds(seconds)},snapshot,,,,{','.join(sides)}"


def change(ticker, seconds, side, price, size):
    return f"{ticker},{nanoseconds(seconds)},price_level_update,{price},{size},{side},,,,"


@pytest.fixture
def read(tmp_path):
    """Read a stream; return the books of its rows by line, and what is refused by line."""

    def read(*lines, **said):
        path = tmp_path / "stream.csv"
        path.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
        return books_of(path, **said)

    return read


def books_of(path, **said):
    file = SourceFile(path, Description(kind=Kind.BOOKS, preset="predictiondata", **said), now=NOW)
    survey = file.survey()
    books: dict[int, tuple[object, ...]] = {}
    refused: dict[int, tuple[str, str]] = {}
    for batch in file.rows():
        ends = {side: each.counts.cumsum() for side, each in batch.rows.levels.items()}
        for n, line in enumerate(batch.rows.lines.tolist()):
            sides = []
            for side in ("bids", "asks"):
                levels, end = batch.rows.levels[side], ends[side][n]
                first = end - levels.counts[n]
                pairs = zip(levels.prices[first:end], levels.sizes[first:end], strict=True)
                sides.append([(int(price), int(size)) for price, size in pairs])
            books[line] = tuple(sides)
        refused |= {row.line: (row.column, row.reason) for row in batch.refused}
    assert (survey.rows, survey.refused) == (len(books), len(refused))
    return books, refused


def test_each_change_makes_the_book_that_stands_then(read):
    books, refused = read(
        whole("KXA-1", 0, bids=[(0.41, 10), (0.40, 5)], asks=[(0.45, 7)]),
        change("KXA-1", 1, "bid", 0.42, 3),  # a new best level
        change("KXA-1", 2, "bid", 0.40, 0),  # one that goes
        change("KXA-1", 3, "ask", 0.45, 2.5),  # one that has another size
        change("KXA-1", 4, "ask", 0.47, 0),  # one that was not there
    )
    assert not refused
    assert books == {
        2: ([(4100, 1000), (4000, 500)], [(4500, 700)]),
        3: ([(4200, 300), (4100, 1000), (4000, 500)], [(4500, 700)]),
        4: ([(4200, 300), (4100, 1000)], [(4500, 700)]),
        5: ([(4200, 300), (4100, 1000)], [(4500, 250)]),
        6: ([(4200, 300), (4100, 1000)], [(4500, 250)]),
    }


def test_a_whole_book_takes_the_place_of_what_stood(read):
    books, _ = read(
        whole("KXA-1", 0, bids=[(0.41, 10)]),
        whole("KXA-1", 1, asks=[(0.45, 7)]),
        change("KXA-1", 2, "ask", 0.46, 1),
    )
    assert books[4] == ([], [(4500, 700), (4600, 100)])


def test_a_change_before_the_first_whole_book_of_its_market_is_refused_with_its_line(read):
    books, refused = read(
        whole("KXB-1", 0, bids=[(0.2, 1)]),
        change("KXA-1", 1, "bid", 0.42, 3),
        whole("KXA-1", 2, bids=[(0.41, 10)]),
        change("KXA-1", 3, "bid", 0.42, 3),
    )
    assert list(refused) == [3]
    assert refused[3][0] == "price_level_update_price"
    assert "changes a book that is not known" in refused[3][1]
    assert books[5] == ([(4200, 300), (4100, 1000)], [])


@pytest.mark.parametrize(
    ("row", "column", "reason"),
    [
        (change("KXA-1", 1, "bid", "x", 3), "price_level_update_price", "is not a price"),
        (change("KXA-1", 1, "bid", 0.42, ""), "price_level_update_quantity", "is missing"),
        (change("KXA-1", 1, "bid", 0.42, -1), "price_level_update_quantity", "is negative"),
        (change("KXA-1", 1, "", 0.42, 1), "price_level_update_side", "is missing"),
        (change("KXA-1", 1, "buy", 0.42, 1), "price_level_update_side", "is none of bid, ask"),
        (change("KXA-1", -9, "bid", 0.42, 1), "local_timestamp", "is earlier than the row before"),
        (whole("KXA-1", 1, bids=[(0.4, 1)] * 2), "snapshot_bid_prices", "lists a price twice"),
    ],
)  # fmt: skip
def test_after_a_row_that_is_refused_a_book_is_unknown_until_the_next_whole_one(
    read, row, column, reason
):
    books, refused = read(
        whole("KXA-1", 0, bids=[(0.41, 10)]),
        whole("KXB-1", 0, bids=[(0.2, 1)]),
        row,
        change("KXA-1", 2, "bid", 0.42, 3),
        change("KXB-1", 2, "bid", 0.2, 2),
        whole("KXA-1", 3, bids=[(0.43, 10)]),
        change("KXA-1", 4, "bid", 0.42, 3),
    )
    assert list(refused) == [4, 5]
    assert (refused[4][0], reason in refused[4][1]) == (column, True)
    assert "changes a book that is not known" in refused[5][1]
    assert books[6] == ([(2000, 200)], [])
    assert books[8] == ([(4300, 1000), (4200, 300)], [])


def test_a_book_may_come_back_to_what_it_was_at_the_same_instant(read):
    books, refused = read(
        whole("KXA-1", 0, bids=[(0.41, 10)]),
        change("KXA-1", 0, "bid", 0.42, 3),
        change("KXA-1", 0, "bid", 0.42, 0),
    )
    assert not refused
    assert list(books) == [2, 3, 4]
    assert books[4] == books[2]


def test_changes_of_the_no_scale_become_those_of_yes(read):
    books, _ = read(
        whole("KXA-1", 0, bids=[(0.41, 10)]), change("KXA-1", 1, "bid", 0.42, 3), scale="no"
    )
    assert books == {2: ([], [(5900, 1000)]), 3: ([], [(5800, 300), (5900, 1000)])}


def test_other_messages_are_left_out(read):
    books, refused = read(
        f"KXA-1,{nanoseconds(0)},heartbeat,,,,,,,", whole("KXA-1", 0, bids=[(0.41, 10)])
    )
    assert (list(books), refused) == ([3], {})


def test_fields_of_changes_need_a_preset_that_has_them(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("ticker,time,bid_prices,bid_sizes,p\n")
    said = Description(kind=Kind.BOOKS, columns={"level_price": "p"})
    with pytest.raises(BadInput, match="--column: level_price is a field of a preset"):
        SourceFile(path, said)


@pytest.mark.django_db
def test_a_stream_is_on_record_book_by_book(tmp_path):
    path, refused = tmp_path / "stream.csv", tmp_path / "refused.csv"
    lines = [
        change("KXA-1", 0, "bid", 0.5, 1),
        whole("KXA-1", 1, bids=[(0.41, 10)], asks=[(0.45, 7)]),
        change("KXA-1", 2, "bid", 0.42, 3),
        change("KXA-1", 2, "bid", 0.42, 0),
    ]
    path.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    said = {"preset": "predictiondata", "recording": "on-change", "refused": refused}

    call_command("importdata", "books", str(path), **said, stdout=StringIO())

    books = OrderBookSnapshot.objects.order_by("sequence").values_list("bid_prices", flat=True)
    best, second = Decimal("0.42"), Decimal("0.41")
    assert list(books) == [[second], [best, second], [second]]
    quotes = MarketSnapshot.objects.order_by("sequence").values_list("yes_bid", "yes_ask")
    assert list(quotes) == [(each, Decimal("0.45")) for each in (second, best, second)]
    assert [line.split(",")[1] for line in refused.read_text().splitlines()] == ["line", "2"]


# A stream is a list of markets' rows; each is a whole book, or a change of a level.
PRICES, SIZES = st.integers(1, 99), st.integers(0, 500)
SIDE = st.dictionaries(PRICES, st.integers(1, 500), max_size=4)
WHOLE = st.tuples(st.just("whole"), SIDE, SIDE)
CHANGE = st.tuples(st.just("change"), st.sampled_from(["bid", "ask"]), PRICES, SIZES)
STREAM = st.lists(
    st.tuples(st.sampled_from(["KXA-1", "KXB-1", "KXC-1"]), st.one_of(CHANGE, CHANGE, WHOLE)),
    min_size=1,
    max_size=40,
)


def written(ticker, n, row):
    if row[0] == "change":
        side, price, size = row[1:]
        return change(ticker, n, side, Decimal(price).scaleb(-2), size)
    sides = [
        [(Decimal(price).scaleb(-2), size) for price, size in side.items()] for side in row[1:]
    ]
    return whole(ticker, n, *sides)


@settings(max_examples=25, deadline=None)
@given(stream=STREAM, at_once=st.integers(1, 7))
def test_changes_applied_to_whole_books_are_the_books_that_a_stream_had(
    tmp_path_factory, stream, at_once
):
    path = tmp_path_factory.mktemp("stream") / "stream.csv"
    lines = [written(ticker, n, row) for n, (ticker, row) in enumerate(stream)]
    path.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CsvFile, "piece", 300)
        patch.setattr(source_file, "CHANGES_AT_ONCE", at_once)
        books, refused = books_of(path, scale="yes")  # books may be crossed
    standing, expected, unknown = {}, {}, []
    for line, (ticker, row) in enumerate(stream, 2):
        if row[0] == "whole":
            standing[ticker] = {"bid": dict(row[1]), "ask": dict(row[2])}
        elif ticker in standing:
            side, price, size = row[1:]
            standing[ticker][side] |= {price: size}
            standing[ticker][side] = {p: s for p, s in standing[ticker][side].items() if s}
        else:
            unknown.append(line)
            continue
        expected[line] = tuple(
            sorted(
                ((price * 100, size * 100) for price, size in standing[ticker][side].items()),
                reverse=side == "bid",
            )
            for side in ("bid", "ask")
        )
    assert books == expected
    assert list(refused) == unknown
