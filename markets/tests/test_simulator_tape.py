"""The simulated exchange trades like a market: prints, books, volume and prices agree."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby, pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markets.simulator.board import Listings
from markets.simulator.exchange import Exchange
from markets.simulator.liveliness import TRADES_PER_ORDER, with_trades_per_second
from markets.simulator.orders import SECOND
from markets.simulator.trades import PLACES, trades_of
from markets.simulator.universe import SimulatedUniverse

NOW = int(datetime(2026, 11, 20, 20, 0, tzinfo=UTC).timestamp())
# In standard time, three o'clock in New York is eight o'clock UTC.
PAUSED = int(datetime(2026, 11, 19, 8, tzinfo=UTC).timestamp())
MINUTE, HOUR, DAY = 60, 3600, 86_400

Level = tuple[str, int]


@pytest.fixture(scope="module")
def exchange() -> Exchange:
    return Exchange(Listings(SimulatedUniverse(markets=400)))


def get(exchange: Exchange, path: str, micros: int, **params: Any) -> Any:
    """Return the exchange's answer at an instant in microseconds."""
    query = {name: [str(value)] for name, value in params.items()}
    reply = exchange.respond(path, query, micros / SECOND)
    assert reply.status == 200, reply.body
    return msgspec.json.decode(reply.body)


def trades_within(exchange: Exchange, start: int, end: int, **params: Any) -> list[Any]:
    """The trades of a span in whole seconds, oldest first."""
    found: list[Any] = []
    params = {"limit": 1000, **params, "min_ts": start, "max_ts": end}
    while True:
        page = get(exchange, "/markets/trades", (end + 1) * SECOND, **params)
        found += page["trades"]
        if not page["cursor"]:
            return found[::-1]
        params["cursor"] = page["cursor"]


def instant_of(trade: Any) -> int:
    return round(datetime.fromisoformat(trade["created_time"]).timestamp() * SECOND)


def hundredths(count: str) -> int:
    return round(float(count) * 100)


def book_at(exchange: Exchange, ticker: str, micros: int) -> dict[str, list[Level]]:
    """The bids for YES and for NO, the best last."""
    book = get(exchange, f"/markets/{ticker}/orderbook", micros)["orderbook_fp"]
    return {
        name: [(price, hundredths(size)) for price, size in book[f"{name}_dollars"]]
        for name in ("yes", "no")
    }


def take(book: dict[str, list[Level]], prints: list[Any]) -> dict[str, list[Level]]:
    """Return a book without an order's prints, each of which is at the best level then."""
    left = {name: list(levels) for name, levels in book.items()}
    for each in prints:
        sold = "no" if each["taker_outcome_side"] == "yes" else "yes"
        price, shown = left[sold].pop()
        size = hundredths(each["count_fp"])
        assert each[f"{sold}_price_dollars"] == price
        assert 0 < size <= shown
        if shown > size:
            left[sold].append((price, shown - size))
    return left


def orders_in(trades: list[Any]) -> Iterator[tuple[str, int, list[Any]]]:
    """The orders behind trades: a ticker, an instant, and the prints in their order."""
    by_order = sorted(trades, key=lambda trade: (trade["ticker"], instant_of(trade)))
    for (ticker, at), prints in groupby(by_order, key=lambda t: (t["ticker"], instant_of(t))):
        yield ticker, at, list(prints)


def test_an_hour_of_trades_takes_from_the_books_what_it_prints():
    # A twentieth of the usual trades, since each of them is held against two order books.
    exchange = Exchange(Listings(SimulatedUniverse(markets=400, liveliness=0.05)))
    walked = blocks = 0
    orders = list(orders_in(trades_within(exchange, NOW - HOUR, NOW)))
    for ticker, at, prints in orders:
        before, after = book_at(exchange, ticker, at - 1), book_at(exchange, ticker, at)
        if prints[0]["is_block_trade"]:
            blocks += 1
            assert after == before
        else:
            walked += len(prints) > 1
            assert after == take(before, prints)
    assert len(orders) > 1_000
    assert 0.02 < walked / len(orders) < 0.5
    assert 0 < blocks < 0.02 * len(orders)


def test_a_book_moves_only_by_quotes_trades_and_refills(exchange):
    """Between two trades of a market, its book can only be filled again, if no quote moved."""
    board = exchange.listings.live(NOW)
    trades = trades_within(exchange, NOW - HOUR // 2, NOW)
    orders = list(orders_in([trade for trade in trades if "KXHIGH" in trade["ticker"]]))
    pairs = [(a, b) for a, b in pairwise(orders) if a[0] == b[0]]
    filled = 0
    for (ticker, start, _), (_, end, _) in pairs:
        event = int(board.prices.traits.event[board.row_of[ticker]])
        if len(board.prices.changes(event, start // SECOND, end // SECOND)):
            continue
        left, later = book_at(exchange, ticker, start), book_at(exchange, ticker, end - 1)
        for name, levels in left.items():
            assert dict(later[name]).items() >= dict(levels[:-1]).items()
            assert total(later[name]) >= total(levels)
        filled += later != left
    assert len(pairs) > 20
    assert filled > 10


def total(levels: list[Level]) -> int:
    return sum(size for _, size in levels)


def test_what_was_taken_is_there_again_after_a_minute(exchange):
    """Makers fill a level again at an instant of their own, not in the trade's own second."""
    board = exchange.listings.live(NOW)
    rows = np.flatnonzero(board.listed)
    at = np.full(len(rows), NOW * SECOND)
    count = board.books.orders.count(rows, at)
    number = np.maximum(count - 1, 0)
    times = board.books.orders.times(rows, number)
    is_open = board.prices.lives.ended[board.prices.traits.event[rows]] > NOW
    lately = is_open & (times > (NOW - HOUR) * SECOND) & (count > 0)
    rows, number, times = rows[lately], number[lately], times[lately]
    waits = (board.books.fill_after(rows, number, times) - times) / SECOND
    assert len(waits) > 100
    assert (waits > 0).all()
    assert waits.max() <= MINUTE
    assert 5 < np.median(waits) < 40


instants = st.integers(NOW * SECOND, (NOW + HOUR) * SECOND - 1)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_volume_price_and_interest_follow_from_the_prints(exchange, data):
    start, end = sorted(data.draw(st.tuples(instants, instants)))
    listed = get(exchange, "/markets", start, status="open", limit=1000)["markets"]
    market = data.draw(st.sampled_from(listed))
    path = f"/markets/{market['ticker']}"
    later = get(exchange, path, end)["market"]
    span = {"ticker": market["ticker"], "limit": 1000}
    trades = get(exchange, "/markets/trades", end, **span)["trades"]
    inside = [trade for trade in trades if start < instant_of(trade) <= end]
    if len(inside) == 1000:
        return
    assert hundredths(later["volume_fp"]) - hundredths(market["volume_fp"]) == sum(
        hundredths(trade["count_fp"]) for trade in inside
    )
    last = inside[0]["yes_price_dollars"] if inside else market["last_price_dollars"]
    assert later["last_price_dollars"] == last
    assert hundredths(later["open_interest_fp"]) <= hundredths(later["volume_fp"])


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_listing_shows_the_top_of_the_book_between_the_steps_too(exchange, data):
    at = data.draw(instants)
    market = data.draw(st.sampled_from(get(exchange, "/markets", at, limit=1000)["markets"]))
    book = book_at(exchange, market["ticker"], at)
    tops = [levels[-1] if levels else ("0.0000", 0) for levels in (book["yes"], book["no"])]
    assert tops == [
        (market["yes_bid_dollars"], hundredths(market["yes_bid_size_fp"])),
        (market["no_bid_dollars"], hundredths(market["yes_ask_size_fp"])),
    ]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 1 << 30), st.integers(0, 300 * DAY), st.floats(0.2, 300))
def test_no_order_takes_more_than_is_shown_in_any_world(seed, ago, liveliness):
    universe = SimulatedUniverse(seed=seed, markets=60, liveliness=liveliness)
    board = Listings(universe).live(NOW - ago)
    orders = board.books.orders
    rows = np.flatnonzero(board.listed)
    count = orders.count(rows, np.full(len(rows), board.micros))
    rows, numbers = rows[count > 0], count[count > 0] - 1
    trades = trades_of(board.books, rows, numbers)
    times = orders.times(rows, numbers)
    assert (
        np.bincount(trades.rows, trades.sizes, len(board))[rows] == orders.sizes(rows, numbers)
    ).all()
    before = board.books.best(rows, times - 1)
    open_prints = trades.pick(~trades.blocks)
    first = np.unique(open_prints.rows, return_index=True)[1]
    place = np.searchsorted(rows, open_prints.rows[first])
    buys = open_prints.buys[first]
    best = np.where(buys, before.ask[place], before.bid[place])
    shown = np.where(buys, before.ask_size[place], before.bid_size[place])
    assert (open_prints.prices[first] == best).all()
    assert (open_prints.sizes[first] <= shown).all()


def test_orders_are_counted_to_the_microsecond(exchange):
    board = exchange.listings.live(NOW)
    orders = board.books.orders
    rows = np.flatnonzero(board.listed)
    count = orders.count(rows, np.full(len(rows), NOW * SECOND))
    traded, newest = rows[count > 0], count[count > 0] - 1
    times = orders.times(traded, newest)
    assert (times <= NOW * SECOND).all()
    assert (orders.count(traded, times) == newest + 1).all()
    assert (orders.count(traded, times - 1) == newest).all()
    assert (times % SECOND > 0).all()


# The tape


def test_a_page_shows_nothing_that_has_not_happened(exchange):
    at = NOW * SECOND + 2_345_678
    newest = get(exchange, "/markets/trades", at, limit=1000)["trades"]
    assert at - 5 * MINUTE * SECOND < instant_of(newest[0]) <= at
    just_before = instant_of(newest[0]) - 1
    earlier = get(exchange, "/markets/trades", just_before, limit=1000)["trades"]
    assert earlier[0] == next(t for t in newest if t["created_time"] != newest[0]["created_time"])


def test_small_pages_hold_what_large_ones_do(exchange):
    for params in ({}, {"ticker": most_traded(exchange)}):
        whole = trades_within(exchange, NOW - 2 * MINUTE, NOW, **params)
        small = trades_within(exchange, NOW - 2 * MINUTE, NOW, **params, limit=7)
        assert len(whole) > 50
        assert small == whole


def most_traded(exchange: Exchange) -> str:
    newest = get(exchange, "/markets/trades", NOW * SECOND, limit=1000)["trades"]
    return str(Counter(trade["ticker"] for trade in newest).most_common(1)[0][0])


def test_one_market_has_the_trades_that_the_whole_tape_has_of_it(exchange):
    whole = trades_within(exchange, NOW - 20 * MINUTE, NOW)
    tickers = sorted({trade["ticker"] for trade in whole})
    assert len(tickers) > 50
    for ticker in tickers[::5]:
        own = trades_within(exchange, NOW - 20 * MINUTE, NOW, ticker=ticker)
        assert own == [trade for trade in whole if trade["ticker"] == ticker]


def test_in_a_pause_the_tape_ends_with_the_last_trade_before_it(exchange):
    before = get(exchange, "/markets/trades", PAUSED * SECOND, limit=300)
    for at in (PAUSED + 7, PAUSED + HOUR, PAUSED + 2 * HOUR):
        assert get(exchange, "/markets/trades", at * SECOND, limit=300) == before
    newest = before["trades"][0]
    assert PAUSED * SECOND - 5 * MINUTE * SECOND < instant_of(newest) < PAUSED * SECOND
    ticker = newest["ticker"]
    own = get(exchange, "/markets/trades", (PAUSED + HOUR) * SECOND, ticker=ticker)["trades"]
    assert own[0] == newest


def test_a_market_that_is_not_open_yet_has_neither_quotes_nor_trades(exchange):
    markets = get(exchange, "/markets", NOW * SECOND, status="unopened", limit=1000)["markets"]
    assert markets
    for market in markets[::20]:
        trades = get(exchange, "/markets/trades", NOW * SECOND, ticker=market["ticker"])
        assert trades == {"trades": [], "cursor": ""}
        assert market["yes_bid_size_fp"] == market["yes_ask_size_fp"] == "0.00"
        assert (market["yes_bid_dollars"], market["yes_ask_dollars"]) == ("0.0000", "1.0000")
        assert market["volume_fp"] == "0.00"


def test_the_trades_of_a_market_that_has_ended_stay(exchange):
    settled = get(exchange, "/markets", NOW * SECOND, status="settled", series_ticker="KXBTC15M")
    market = settled["markets"][-1]
    closed = int(datetime.fromisoformat(market["close_time"]).timestamp())
    trades = trades_within(exchange, closed - HOUR, closed + HOUR, ticker=market["ticker"])
    assert sum(hundredths(t["count_fp"]) for t in trades) == hundredths(market["volume_fp"])
    assert trades[-1]["yes_price_dollars"] == market["last_price_dollars"]
    assert instant_of(trades[-1]) < closed * SECOND


def test_a_span_without_trades_is_an_empty_page(exchange):
    for span in ({"min_ts": NOW + DAY}, {"max_ts": NOW - 9 * DAY}, {"min_ts": 9, "max_ts": 5}):
        page = get(exchange, "/markets/trades", NOW * SECOND, **span)
        assert page == {"trades": [], "cursor": ""}


# Liveliness


def mean_trades(universe: SimulatedUniverse) -> float:
    """Trades a second of trading time, counted in every fifth hour of two weeks."""
    listings, orders, length = Listings(universe), 0, 0
    for at in range(NOW - 14 * DAY, NOW, 5 * HOUR):
        board = listings.live(at)
        rows = np.flatnonzero(board.listed)
        bounds = (np.full(len(rows), at - ago) * SECOND for ago in (0, HOUR))
        newer, older = (board.books.orders.count(rows, each).sum() for each in bounds)
        orders += int(newer - older)
        length += int(np.diff(listings.hours.trading_time(np.array([at - HOUR, at])))[0])
    return orders * TRADES_PER_ORDER / length


def test_the_exchange_is_as_lively_as_was_asked():
    for wanted in (2.0, 300.0):
        universe = with_trades_per_second(SimulatedUniverse(markets=400), wanted)
        assert mean_trades(universe) == pytest.approx(wanted, rel=0.1)


def test_an_order_prints_about_as_many_trades_as_is_assumed():
    for liveliness in (1.0, 30.0):
        board = Listings(SimulatedUniverse(markets=400, liveliness=liveliness)).live(NOW)
        start = (NOW - MINUTE * 10) * SECOND
        trades = board.tape.newest(start, NOW * SECOND, after=None, most=50_000)
        orders = len(np.unique(trades.ids // np.uint64(PLACES)))
        assert len(trades.rows) / orders == pytest.approx(TRADES_PER_ORDER, rel=0.15)


def test_thousands_of_trades_a_second_still_agree_with_the_books():
    universe = with_trades_per_second(SimulatedUniverse(markets=400), 3_000.0)
    exchange = Exchange(Listings(universe))
    trades = trades_within(exchange, NOW - 2, NOW - 1)
    orders = list(orders_in(trades))
    assert len(trades) > 800
    for ticker, at, prints in orders[::7]:
        if not prints[0]["is_block_trade"]:
            before, after = book_at(exchange, ticker, at - 1), book_at(exchange, ticker, at)
            assert after == take(before, prints)
