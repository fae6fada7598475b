"""Trading hours of the simulated exchange: the weekly pause and maintenance windows."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import httpx
import numpy as np
import pytest

from markets.simulator import SimulatedClock, SimulatedUniverse, running_exchange
from markets.simulator.board import Listings
from markets.simulator.book import SimulatedBooks
from markets.simulator.hours import TradingHours
from markets.simulator.orders import SECOND
from markets.simulator.prices import Prices

STEP, MINUTE, HOUR, DAY = 5, 60, 3600, 86_400
# In standard time, three o'clock in New York is eight o'clock UTC.
PAUSED = int(datetime(2026, 11, 19, 8, tzinfo=UTC).timestamp())
RESUMED = PAUSED + 2 * HOUR


@contextmanager
def client_at(instant: int, **options: Any) -> Iterator[httpx.Client]:
    clock = SimulatedClock.starting(speed=0.0, origin=instant)
    with (
        running_exchange(SimulatedUniverse(markets=400), clock=clock, **options) as exchange,
        httpx.Client(base_url=exchange.url, timeout=30) as client,
    ):
        yield client


def answer(instant: int, path: str, **options: Any) -> httpx.Response:
    with client_at(instant, **options) as client:
        return client.get(path)


@pytest.fixture(scope="module")
def listings() -> Listings:
    return Listings(SimulatedUniverse(markets=1500))


def test_three_in_new_york_is_seven_or_eight_in_london():
    hours = TradingHours()
    summer, winter = datetime(2026, 7, 16, 7, tzinfo=UTC), datetime(2026, 11, 19, 8, tzinfo=UTC)
    for at in (int(summer.timestamp()), int(winter.timestamp())):
        assert hours.resumes_at(at - STEP) is None
        assert hours.resumes_at(at) == hours.resumes_at(at + 2 * HOUR - STEP) == at + 2 * HOUR
        assert hours.resumes_at(at + 2 * HOUR) is None


def test_trading_time_stands_still_in_a_pause_only():
    hours = TradingHours(maintenance=[(RESUMED - HOUR, RESUMED + HOUR)])
    grid = np.arange(PAUSED - HOUR, RESUMED + 2 * HOUR, STEP)
    trading_time = hours.trading_time(grid)
    still = np.diff(trading_time) == 0
    assert (grid[1:][still] - PAUSED).tolist() == list(range(STEP, 3 * HOUR + STEP, STEP))
    assert (np.diff(trading_time)[~still] == STEP).all()
    assert (hours.trading_time(hours.instant(trading_time)) == trading_time).all()


def test_a_maintenance_window_has_a_beginning_and_an_end():
    with pytest.raises(ValueError, match="200:100"):
        TradingHours(maintenance=[(200, 100)])


def test_the_exchange_says_that_it_pauses():
    status = answer(PAUSED + MINUTE, "/exchange/status").json()
    assert status["exchange_active"]
    assert not status["trading_active"]
    assert datetime.fromisoformat(status["exchange_estimated_resume_time"]).timestamp() == RESUMED
    assert not any(shard["trading_active"] for shard in status["exchange_index_statuses"])
    for at, options in ((RESUMED, {}), (PAUSED, {"pauses": False})):
        trading = answer(at, "/exchange/status", **options).json()
        assert trading["trading_active"]
        assert "exchange_estimated_resume_time" not in trading


def test_the_schedule_has_two_sessions_on_thursday():
    week, other = (
        answer(PAUSED, "/exchange/schedule", pauses=pauses).json()["schedule"]["standard_hours"][0]
        for pauses in (True, False)
    )
    assert [len(week[day]) for day in ("wednesday", "thursday", "friday")] == [1, 2, 1]
    assert week["thursday"] == [
        {"open_time": "00:00", "close_time": "03:00"},
        {"open_time": "05:00", "close_time": "24:00"},
    ]
    assert other["thursday"] == other["friday"] == week["friday"]


def test_books_stay_as_they_are_in_a_pause(listings):
    before = listings.live(PAUSED)
    shown = {e.ticker for e in before.events if e.opened <= PAUSED and e.ended > RESUMED + HOUR}
    pages = []
    for at in (PAUSED, PAUSED + HOUR + 30 * MINUTE, RESUMED, RESUMED + HOUR):
        board = listings.live(at)
        expected_events = [board.event_of[ticker] for ticker in sorted(shown)]
        rows = [row for i in expected_events for row in board.listed_rows(i)]
        instants = np.full(len(rows), at * SECOND)
        quotes = board.books.best(np.array(rows), instants)
        counts = board.books.orders.count(np.array(rows), instants)
        pages.append((np.stack(quotes), counts))
    (first, traded), *paused, (moved, more) = pages
    assert all((quotes == first).all() and (counts == traded).all() for quotes, counts in paused)
    assert (moved != first).any()
    assert more.sum() > traded.sum()


def test_books_stay_as_they_are_while_one_event_pauses():
    universe = SimulatedUniverse(markets=400, liveliness=30.0)
    found = (universe.event(line, n) for line in universe.lines for n in line.numbers(0, 90 * DAY))
    events = [event for event in found if event.calm_end < event.late_start][:40]
    prices = Prices.of(events, bias=True, hours=TradingHours(pauses=False))
    books, event = SimulatedBooks.of(prices), prices.traits.event
    rows = np.arange(len(event))
    began, resumed = (
        each[event] * SECOND for each in (prices.lives.calm_end, prices.lives.late_start)
    )
    placed, first, *others = (
        np.stack(each)
        for each in (
            prices.quotes(rows, began // SECOND),
            *(books.best(rows, at) for at in (began, (began + resumed) // 2, resumed - 1)),
        )
    )
    assert (first != placed).any()
    assert all((other == first).all() for other in others)
    assert (np.stack(books.best(rows, resumed)) != first).any()


def test_nothing_trades_and_no_quote_moves_in_a_pause(listings):
    board = listings.live(RESUMED + 2 * HOUR)
    prices = board.prices
    bounds = (PAUSED - HOUR) * SECOND, (RESUMED + HOUR) * SECOND
    trades = board.tape.newest(*bounds, after=None, most=100_000)
    inside = (trades.micros >= PAUSED * SECOND) & (trades.micros <= RESUMED * SECOND)
    assert len(trades.rows) > 1000
    assert trades.micros.min() < PAUSED * SECOND
    assert not inside.any()
    for event in range(len(board.events)):
        moves = prices.changes(event, PAUSED, RESUMED)
        assert not len(moves[moves < RESUMED])


def test_candles_of_a_pause_are_flat_and_without_trades():
    paths = "/series/KXFEDDECISION/markets/{}/candlesticks"
    span = {"start_ts": PAUSED - HOUR, "end_ts": RESUMED + 2 * HOUR, "period_interval": 1}
    with client_at(RESUMED + 3 * HOUR) as client:
        candles = client.get(paths.format(most_traded(client)), params=span).json()["candlesticks"]
    inside = [c for c in candles if PAUSED < c["end_period_ts"] <= RESUMED]
    traded = [c for c in candles if c not in inside and float(c["volume_fp"])]
    assert len(inside) == 120
    assert traded
    assert {c["volume_fp"] for c in inside} == {"0.00"}
    assert {c["price"]["close_dollars"] for c in inside} == {None}
    assert len({tuple(c["yes_bid"].values()) for c in inside}) == 1


def most_traded(client: httpx.Client) -> str:
    markets = client.get("/markets", params={"series_ticker": "KXFEDDECISION"}).json()["markets"]
    return str(max(markets, key=lambda m: float(m["volume_24h_fp"]))["ticker"])


def test_nothing_opens_in_a_pause(listings):
    paused, free = (
        {e.ticker: e for e in each.live(RESUMED).events}
        for each in (listings, Listings(listings.universe, hours=TradingHours(pauses=False)))
    )
    in_pause = {t for t, e in free.items() if PAUSED <= e.opened < RESUMED}
    kept = in_pause & set(paused)
    assert kept < in_pause
    assert {paused[ticker].opened for ticker in kept} == {RESUMED}
    assert all(free[ticker].ended <= RESUMED for ticker in in_pause - kept)
    board = listings.live(RESUMED)
    rows = [row for ticker in kept for row in board.rows(board.event_of[ticker])]
    quotes = board.books.best(np.array(rows), np.full(len(rows), RESUMED * SECOND))
    assert (quotes.ask_size > 0).any()


def test_under_maintenance_only_the_exchange_itself_answers():
    windows = [(PAUSED - DAY, PAUSED - DAY + HOUR), (PAUSED + 9 * DAY, PAUSED + 10 * DAY)]
    with client_at(PAUSED - DAY + MINUTE, maintenance=windows) as client:
        status = client.get("/exchange/status").json()
        assert not status["exchange_active"]
        assert not status["trading_active"]
        assert client.get("/markets").status_code == 503
        assert client.get("/historical/cutoff").json()["code"]
        listed = client.get("/exchange/schedule").json()["schedule"]["maintenance_windows"]
        starts = [datetime.fromisoformat(w["start_datetime"]).timestamp() for w in listed]
        assert starts == [start for start, _ in windows]
    assert answer(PAUSED - DAY + HOUR, "/markets", maintenance=windows).status_code == 200


def test_nothing_is_traded_under_maintenance():
    window = (PAUSED - DAY, PAUSED - DAY + HOUR)
    listings = Listings(SimulatedUniverse(markets=400), hours=TradingHours(maintenance=[window]))
    board = listings.live(window[1] + HOUR)
    rows = np.flatnonzero(board.listed)
    counts = [
        board.books.orders.count(rows, np.full(len(rows), at * SECOND)).sum()
        for at in (window[0] - HOUR, *window, window[1] + HOUR)
    ]
    assert [later > earlier for earlier, later in pairwise(counts)] == [True, False, True]
