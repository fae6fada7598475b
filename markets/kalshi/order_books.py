"""Order books of the exchange, parsed as strictly as its other payloads (see `payloads`)."""

from decimal import Decimal
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from markets.kalshi.fields import Count, NullableList, Price, Ticker, decoder, settle_unknowns
from markets.prices import ONE


class Level(NamedTuple):
    price: Price
    size: Count


class OrderBook(NamedTuple):
    """Bids of both sides, each on its own side's scale, in ascending order: the best is last.

    Levels at which nobody bids are left out, as in a quote: those without a size and those at 0 or
    1 dollar. A price that is listed twice keeps the smaller size; the other level is in `repeated`.
    """

    yes: tuple[Level, ...]
    no: tuple[Level, ...]
    repeated: tuple[Level, ...] = ()


class _Sides(Struct):
    yes_dollars: NullableList[tuple[Level, ...]] = ()
    no_dollars: NullableList[tuple[Level, ...]] = ()

    def __post_init__(self) -> None:
        settle_unknowns(self)


class _OrderBookReply(Struct):
    orderbook_fp: Raw


class _MarketOrderBook(_OrderBookReply):
    ticker: Ticker


class _OrderBooksReply(Struct):
    orderbooks: NullableList[tuple[Raw, ...]] = ()

    def __post_init__(self) -> None:
        settle_unknowns(self)


_read_order_book = decoder(_OrderBookReply)
_read_order_books = decoder(_OrderBooksReply)
_read_market_order_book = decoder(_MarketOrderBook)
_read_sides = decoder(_Sides)
_read_keys = decoder(dict[str, Raw])


def order_book(body: bytes) -> OrderBook:
    return _book(_read_order_book(body).orderbook_fp)


def _book(raw: Raw) -> OrderBook:
    """Parse a book, of which a side without bids may be null or missing.

    Raises ValidationError for a book that has other keys instead of both sides: they have other
    names in its contract.
    """
    sides, keys = _read_sides(raw), _read_keys(raw).keys()
    if keys and keys.isdisjoint(_Sides.__struct_fields__):
        raise msgspec.ValidationError("Object missing required field `yes_dollars`")
    (yes, more_yes), (no, more_no) = _standing(sides.yes_dollars), _standing(sides.no_dollars)
    return OrderBook(yes, no, (*more_yes, *more_no))


def _standing(levels: tuple[Level, ...]) -> tuple[tuple[Level, ...], list[Level]]:
    """Return the levels that somebody bids at, ascending, and those that repeat a price.

    Text and example of the contract contradict each other about the order of the levels.
    """
    standing: dict[Decimal, Level] = {}
    repeated = []
    for level in sorted(levels):
        if not level.size or not 0 < level.price < ONE:
            continue
        if level.price in standing:
            repeated.append(level)
        else:
            standing[level.price] = level
    return tuple(standing.values()), repeated


class RefusedBook(NamedTuple):
    """An order book that cannot be parsed, and why."""

    raw: Raw
    reason: msgspec.MsgspecError


def order_books(body: bytes) -> tuple[dict[str, OrderBook], list[RefusedBook]]:
    """Parse order books by ticker, and name those that cannot be parsed."""
    books: dict[str, OrderBook] = {}
    refused = []
    for raw in _read_order_books(body).orderbooks:
        try:
            parsed = _read_market_order_book(raw)
            books[parsed.ticker] = _book(parsed.orderbook_fp)
        except msgspec.MsgspecError as reason:
            refused.append(RefusedBook(raw, reason))
    return books, refused
