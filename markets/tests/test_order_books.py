"""Order books as they are read from the exchange, and as they are recorded."""

import json
from decimal import Decimal

import msgspec
import pytest

from markets.kalshi import order_books
from markets.models import Drift, OrderBookSnapshot
from markets.tests.fake_exchange import Exchange
from markets.tests.test_recorder import tick


def read(book):
    return order_books.order_book(json.dumps({"orderbook_fp": book}).encode())


def book(yes, no):
    return read({"yes_dollars": yes, "no_dollars": no})


def test_levels_are_sorted_so_that_the_best_is_last():
    book_read = book([["0.4200", "3.00"], ["0.0100", "10.00"], ["0.4100", "0.50"]], [])
    assert book_read.yes[-1] == (Decimal("0.42"), Decimal(3))
    assert [level.price for level in book_read.yes] == sorted(
        level.price for level in book_read.yes
    )
    assert book_read.no == ()


@pytest.mark.parametrize("empty", [{}, {"no_dollars": None}, {"no_dollars": []}])
def test_a_side_that_is_null_or_missing_is_empty(empty):
    book_read = read({"yes_dollars": [["0.4200", "3.00"]], **empty})
    assert (book_read.yes, book_read.no) == (((Decimal("0.42"), Decimal(3)),), ())
    book_read = read({"no_dollars": [["0.4200", "3.00"]], "yes_dollars": None})
    assert (len(book_read.no), book_read.yes) == (1, ())


@pytest.mark.parametrize("empty", [{}, {"yes_dollars": None, "no_dollars": None}])
def test_a_book_without_sides_is_empty(empty):
    assert read(empty) == ((), (), ())


@pytest.mark.parametrize("level", [["0.42"], [42, 1], ["0.42", "1", "2"], ["NaN", "1"], "0.42"])
def test_a_malformed_level_is_refused(level):
    with pytest.raises(msgspec.ValidationError):
        book([level], [])


@pytest.mark.parametrize("book", [{"yes": [[42, 1]], "no": None}, {"yes_dollars_fp": []}, None])
def test_a_book_under_other_keys_never_looks_empty(book):
    with pytest.raises(msgspec.ValidationError):
        read(book)


def test_an_order_book_under_its_old_key_is_refused():
    with pytest.raises(msgspec.ValidationError, match="orderbook_fp"):
        order_books.order_book(b'{"orderbook": {"yes": null, "no": null}}')


@pytest.mark.parametrize("level", [["0.4100", "0.00"], ["0.0000", "5.00"], ["1.0000", "5.00"]])
def test_a_level_at_which_nobody_bids_is_left_out(level):
    book_read = book([level, ["0.4200", "3.00"]], [level])
    assert (book_read.yes, book_read.no) == (((Decimal("0.42"), Decimal(3)),), ())
    assert book_read.repeated == ()


def test_a_price_that_is_listed_twice_keeps_the_smaller_size():
    book_read = book([["0.4200", "9.00"], ["0.4100", "1.00"], ["0.4200", "3.00"]], [])
    assert book_read.yes == ((Decimal("0.41"), 1), (Decimal("0.42"), 3))
    assert book_read.repeated == ((Decimal("0.42"), 9),)


def test_order_books_of_a_batch_come_by_ticker():
    one = {"yes_dollars": [["0.4200", "3.00"]], "no_dollars": []}
    body = json.dumps({"orderbooks": [{"ticker": "KXA-1-X", "orderbook_fp": one}]})
    books, refused = order_books.order_books(body.encode())
    assert (list(books), refused) == (["KXA-1-X"], [])


@pytest.mark.parametrize("body", [b"{}", b'{"orderbooks": null}', b'{"orderbooks": []}'])
def test_a_batch_of_no_order_books_is_empty(body):
    assert order_books.order_books(body) == ({}, [])


def test_an_unreadable_order_book_is_named_and_does_not_affect_the_others():
    good = {"ticker": "KXA-1-X", "orderbook_fp": {"yes_dollars": [], "no_dollars": []}}
    bad = {"ticker": "KXA-1-Y", "orderbook_fp": {"yes_dollars": [["2.0000", "1.00"]]}}
    books, refused = order_books.order_books(msgspec.json.encode({"orderbooks": [bad, good]}))
    assert list(books) == ["KXA-1-X"]
    assert [b"KXA-1-Y" in bytes(each.raw) for each in refused] == [True]


@pytest.mark.django_db(transaction=True)
class TestRecorded:
    @pytest.fixture
    def hot(self, exchange: Exchange) -> Exchange:
        """An exchange with two markets on the hot list, whose books are due."""
        exchange.list("KXA-1-X", "KXA-1-Y")
        tick(exchange)
        return exchange

    def test_a_book_with_a_null_side_is_recorded(self, hot):
        hot.books = {
            "KXA-1-X": {"yes_dollars": [["0.4200", "3.00"]], "no_dollars": None},
            "KXA-1-Y": {"no_dollars": [["0.4200", "3.00"]]},
        }
        assert tick(hot).order_books == 2
        bids, asks = OrderBookSnapshot.objects.order_by("market__ticker")
        assert (bids.bid_prices, bids.ask_prices) == ([Decimal("0.42")], [])
        assert (asks.bid_prices, asks.ask_prices) == ([], [Decimal("0.58")])

    def test_a_repeated_price_is_recorded_once_and_told(self, hot):
        hot.books["KXA-1-X"] = {"yes_dollars": [["0.4200", "3.00"], ["0.4200", "9.00"]]}
        tick(hot)
        recorded = OrderBookSnapshot.objects.get()
        assert (recorded.bid_prices, recorded.bid_sizes) == ([Decimal("0.42")], [3])
        notes = Drift.objects.get(where="order book.$: a price is listed twice")
        assert (notes.count, notes.sample) == (1, "0.4200 × 9.00")

    def test_an_unreadable_book_is_counted_and_told_and_does_not_affect_the_others(self, hot):
        hot.books = {
            "KXA-1-X": {"yes_dollars": [["2.0000", "1.00"]]},
            "KXA-1-Y": {"yes_dollars": [["0.4200", "3.00"]]},
        }
        poll = tick(hot)
        assert (poll.order_books, poll.rejected) == (1, 1)
        assert Drift.objects.get(where__startswith="order book").kind == "shape"
