"""Unusual lifecycles of simulated markets: disputes, postponements, withdrawals."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from markets.simulator import SimulatedClock, SimulatedUniverse, running_exchange
from markets.simulator.board import Board, Listings
from markets.simulator.universe import NEVER, SimulatedEvent

NOW = int(datetime(2026, 11, 20, 20, 0, tzinfo=UTC).timestamp())
STEP, HOUR, DAY = 5, 3600, 86_400
UNIVERSE = SimulatedUniverse()

Wanted = Callable[[SimulatedEvent], bool]


@pytest.fixture(scope="module")
def listings() -> Listings:
    return Listings(UNIVERSE)


@pytest.fixture(scope="module")
def settled(listings: Listings) -> list[SimulatedEvent]:
    """The events of the default universe that were settled in the last week."""
    return [e for e in listings.past(NOW).events if not e.legs]


@contextmanager
def client_of(universe: SimulatedUniverse, **options: Any) -> Iterator[httpx.Client]:
    clock = SimulatedClock.starting(speed=0.0, origin=NOW)
    with (
        running_exchange(universe, clock=clock, **options) as exchange,
        httpx.Client(base_url=exchange.url, timeout=30) as client,
    ):
        yield client


def markets_at(listings: Listings, event: SimulatedEvent, at: int) -> list[dict[str, Any]]:
    board = listings.live(at)
    rows = board.listed_rows(board.event_of[event.ticker])
    markets: list[dict[str, Any]] = msgspec.json.decode(board.markets(rows))
    return markets


@pytest.mark.parametrize(
    "belongs",
    [
        lambda e: e.disputed,
        lambda e: e.corrected,
        lambda e: e.scalar,
        lambda e: e.ended < e.listed_close,
        lambda e: e.ended > e.listed_close,
    ],
    ids=["disputed", "corrected", "scalar", "closed early", "postponed"],
)
def test_every_day_has_some(settled, belongs):
    days = {(NOW - event.settled) // DAY for event in settled if belongs(event)}
    assert len(days) >= len({(NOW - event.settled) // DAY for event in settled}) - 1


def test_a_dispute_ends_in_an_amended_result(listings, settled):
    changed = 0
    events = [e for e in settled if e.corrected and not e.scalar and not e.void]
    for event in events[:10]:
        dispute = event.series.dispute
        at = [event.determined + k * dispute for k in (0, 1, 2, 3)] + [event.settled]
        stages = [markets_at(listings, event, instant) for instant in at]
        words = [{m["status"] for m in stage} for stage in stages]
        assert words == [{"determined"}, {"disputed"}, {"disputed"}, {"amended"}, {"finalized"}]
        results = [[m["result"] for m in stage] for stage in stages]
        assert results[0] == results[1] == results[2]
        assert results[3] == results[4]
        assert ["settlement_ts" in stage[0] for stage in stages] == [False] * 4 + [True]
        times = [stage[0]["updated_time"] for stage in stages]
        assert times == sorted(times)
        assert len(set(times)) == 4
        changed += results[3] != results[2]
    assert changed > 2


def test_a_result_without_a_dispute_never_changes(listings, settled):
    for event in [e for e in settled if not e.disputed][::200]:
        first = markets_at(listings, event, event.determined)
        last = markets_at(listings, event, event.settled)
        assert {m["status"] for m in first} == {"determined"}
        assert not any("settlement_ts" in m for m in first)
        assert [(m["result"], m["settlement_value_dollars"]) for m in first] == [
            (m["result"], m["settlement_value_dollars"]) for m in last
        ]


def test_what_is_never_published_is_settled_near_its_last_price(listings, settled):
    scalar = [e for e in settled if e.scalar and len(e.outcomes) > 1]
    board, errors = listings.past(NOW), []
    for event in scalar:
        rows = np.array(board.rows(board.event_of[event.ticker]))
        chances = board.prices.chances(rows, np.full(len(rows), event.ended - STEP))
        markets = msgspec.json.decode(board.markets(rows.tolist()))
        assert {m["result"] for m in markets} == {"scalar"}
        values = [float(m["settlement_value_dollars"]) for m in markets]
        assert all(0 < value < 1 for value in values)
        errors += np.abs(chances - values).tolist()
    assert errors
    assert np.median(errors) < 0.02


def test_an_end_is_put_off_while_the_market_is_open(listings, settled):
    event = next(e for e in settled if e.relisted < NEVER)
    before, after, last = (
        markets_at(listings, event, at)[0]
        for at in (event.relisted - STEP, event.relisted, event.ended)
    )
    assert (before["status"], after["status"], last["status"]) == ("active", "active", "closed")
    assert before["close_time"] < after["close_time"] == last["close_time"]
    assert before["updated_time"] < after["updated_time"]


def test_time_filters_follow_the_moved_close(listings, settled):
    event = next(e for e in settled if e.relisted < NEVER)
    board = listings.live(event.relisted - STEP)
    place = board.event_of[event.ticker]
    assert board.closes[place] == event.listed_close
    assert listings.live(event.relisted).closes[board.event_of[event.ticker]] == event.ended


# Provisional markets


@pytest.fixture(scope="module")
def vanished() -> tuple[Board, list[int]]:
    board = Listings(UNIVERSE).live(NOW)
    gone = (board.withdrawn <= NOW) & board.visible[board.prices.traits.event]
    return board, np.flatnonzero(gone).tolist()


def test_some_markets_vanish_every_day(vanished):
    board, rows = vanished
    days = ((NOW - board.withdrawn[rows]) // DAY).tolist()
    assert {0, 1, 2} <= set(days)
    assert len(rows) < 0.1 * len(board)


def test_what_vanishes_was_on_trial_and_never_traded(listings, vanished):
    board, rows = vanished
    for row in rows[::25]:
        ticker, until = board.tickers[row], int(board.withdrawn[row])
        earlier = listings.live(until - STEP)
        market = msgspec.json.decode(earlier.market(earlier.row_of[ticker]))
        assert market["is_provisional"]
        assert market["volume_fp"] == "0.00"


def test_what_has_vanished_is_nowhere(vanished):
    board, rows = vanished
    ticker = board.tickers[rows[0]]
    event = board.events[board.prices.traits.event[rows[0]]]
    with client_of(UNIVERSE) as client:
        assert client.get(f"/markets/{ticker}").status_code == 404
        assert client.get(f"/historical/markets/{ticker}").status_code == 404
        assert client.get(f"/markets?tickers={ticker}").json()["markets"] == []
        nested = client.get(f"/events/{event.ticker}?with_nested_markets=true").json()["event"]
        listed = client.get(f"/markets?event_ticker={event.ticker}").json()["markets"]
        assert nested["markets"] == listed
        assert 0 < len(listed) < len(event.outcomes)
        assert ticker not in {market["ticker"] for market in listed}


def test_history_has_none_of_the_vanished(listings):
    board = listings.past(NOW)
    gone = np.flatnonzero(board.withdrawn < NEVER)
    assert len(gone)
    assert not board.listed[gone].any()


# Combinations


def test_combinations_flood_the_front_of_the_markets():
    with client_of(SimulatedUniverse(markets=100), combos=2500) as client:
        items, cursor = [], ""
        while True:
            params: dict[str, Any] = {"limit": 1000, "cursor": cursor}
            page = client.get("/markets", params=params).json()
            items += [market["ticker"] for market in page["markets"]]
            cursor = page["cursor"]
            if not cursor:
                break
        flood, rest = items[:2500], items[2500:]
        excluded = client.get("/markets?limit=1000&mve_filter=exclude").json()["markets"]
        one = client.get(f"/markets/{flood[77]}").json()["market"]
        leg = one["mve_selected_legs"][0]["market_ticker"]
        assert client.get(f"/markets/{leg}").status_code == 200
        assert client.get(f"/events/{one['event_ticker']}").status_code == 404
        named = client.get(f"/markets?tickers={flood[3]},{rest[0]}").json()["markets"]
        events = client.get("/events").json()["events"]
        new = client.get(f"/markets?min_created_ts={NOW - HOUR}&limit=1000").json()["markets"]
    assert len(set(flood)) == 2500
    assert all(ticker.startswith("KXMVE") for ticker in flood)
    assert len(rest) >= len(excluded) >= 100
    assert one["ticker"] == flood[77]
    assert [market["ticker"] for market in named] == [flood[3], rest[0]]
    assert not [event for event in events if event["event_ticker"].startswith("KXMVE")]
    assert not {market["ticker"] for market in new} & set(flood)
