"""The simulated exchange over real HTTP, checked against Kalshi's OpenAPI contract."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
import yaml

from markets.simulator import RunningExchange, SimulatedClock, SimulatedUniverse, running_exchange
from markets.simulator.orders import SECOND

NOW = int(datetime(2026, 11, 20, 20, 0, 2, tzinfo=UTC).timestamp())
DAY = 86_400
SIZE = 900
ROOT = Path(__file__).resolve().parents[2]
CONTRACT = ROOT.parent / "shared" / "kalshi" / "openapi-3.34-derived.yaml"

Get = Callable[..., Any]


def clock_at(instant: float, *, speed: float = 0.0) -> SimulatedClock:
    return SimulatedClock.starting(speed=speed, origin=instant)


@pytest.fixture(scope="module")
def exchange() -> Iterator[RunningExchange]:
    with running_exchange(SimulatedUniverse(markets=SIZE), clock=clock_at(NOW)) as exchange:
        yield exchange


@pytest.fixture(scope="module")
def client(exchange: RunningExchange) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=exchange.url, timeout=30) as client:
        yield client


@pytest.fixture
def get(client: httpx.Client) -> Get:
    def get(path: str, **params: Any) -> Any:
        reply = client.get(path, params=params)
        assert reply.status_code == 200, reply.text
        return reply.json()

    return get


def pages(get: Get, path: str, name: str, **params: Any) -> list[Any]:
    results, cursor = [], ""
    while True:
        page = get(path, **params, **({"cursor": cursor} if cursor else {}))
        results += page[name]
        cursor = page["cursor"]
        if not cursor:
            return results


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


# The contract


def with_null(schema: Any) -> Any:
    """Translate `nullable` of OpenAPI 3.0 into a choice of JSON Schema."""
    if isinstance(schema, list):
        return [with_null(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: with_null(part) for name, part in schema.items() if name != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") is True else plain


@pytest.fixture(scope="module")
def contract() -> Any:
    if not CONTRACT.exists():
        pytest.skip("the exchange's contract (../shared) is not part of a clone")
    with CONTRACT.open() as file:
        return yaml.load(file, Loader=yaml.CSafeLoader)


@pytest.fixture(scope="module")
def components(contract: Any) -> Any:
    return with_null(contract["components"])


LISTED: dict[str, dict[str, Any]] = {
    "/exchange/status": {},
    "/exchange/schedule": {},
    "/series": {},
    "/series/fee_changes": {"show_historical": "true"},
    "/events/fee_changes": {},
    "/events": {"with_nested_markets": "true", "limit": 30},
    "/markets": {"limit": 300},
    "/markets/trades": {"limit": 300},
    "/historical/cutoff": {},
    "/historical/markets": {"limit": 200},
    "/historical/trades": {"limit": 300},
}
NAMED = (
    "/series/{series_ticker}",
    "/events/{event_ticker}",
    "/markets/{ticker}",
    "/markets/{ticker}/orderbook",
)


def check(contract: Any, components: Any, template: str, body: Any) -> None:
    reply = contract["paths"][template]["get"]["responses"]["200"]
    schema = with_null(reply["content"]["application/json"]["schema"]) | {"components": components}
    jsonschema.Draft4Validator(schema).validate(body)


@pytest.mark.parametrize("template", LISTED)
def test_it_answers_in_the_words_of_the_contract(get, contract, components, template):
    body = get(template, **LISTED[template])
    check(contract, components, template, body)
    assert all(body.values()) or template in {"/events/fee_changes", "/historical/markets"}


@pytest.mark.parametrize("template", NAMED)
@pytest.mark.parametrize("series", ["KXHIGHNY", "KXBTCD", "KXNFLGAME", "KXFEDDECISION"])
def test_it_answers_for_one_in_the_words_of_the_contract(
    get, contract, components, template, series
):
    market = get("/markets", series_ticker=series, status="open")["markets"][0]
    names = {"series_ticker": series, "event_ticker": market["event_ticker"]}
    body = get(template.format(**names, ticker=market["ticker"]))
    check(contract, components, template, body)


def test_batches_and_candles_follow_the_contract(get, contract, components):
    markets = get("/markets", status="open", limit=20)["markets"]
    names = [market["ticker"] for market in markets]
    tickers = ",".join(names)
    books = get("/markets/orderbooks", tickers=names)
    assert [book["ticker"] for book in books["orderbooks"]] == names
    check(contract, components, "/markets/orderbooks", books)
    span = {"start_ts": NOW - DAY, "end_ts": NOW, "period_interval": 60}
    body = get("/markets/candlesticks", market_tickers=tickers, **span)
    assert any(market["candlesticks"] for market in body["markets"])
    check(contract, components, "/markets/candlesticks", body)
    one = get(f"/series/KXHIGHNY/markets/{open_market(get, 'KXHIGHNY')}/candlesticks", **span)
    check(contract, components, "/series/{series_ticker}/markets/{ticker}/candlesticks", one)


def test_candles_of_history_follow_the_contract(get, contract, components):
    market = get("/historical/markets", series_ticker="KXHIGHNY")["markets"][0]
    span = {"start_ts": NOW - 9 * DAY, "end_ts": NOW, "period_interval": 60}
    body = get(f"/historical/markets/{market['ticker']}/candlesticks", **span)
    assert body["candlesticks"]
    check(contract, components, "/historical/markets/{ticker}/candlesticks", body)


def open_market(get: Get, series: str) -> str:
    return str(get("/markets", series_ticker=series, status="open")["markets"][2]["ticker"])


def test_a_market_says_no_more_than_the_contract(get, contract):
    known = set(contract["components"]["schemas"]["Market"]["properties"])
    for market in get("/markets", limit=1000)["markets"]:
        assert set(market) <= known


# Pagination and filters


def test_paging_shows_every_market_once(get):
    whole = [m["ticker"] for m in pages(get, "/markets", "markets", limit=1000)]
    small = [m["ticker"] for m in pages(get, "/markets", "markets", limit=97)]
    assert small == whole
    assert len(set(whole)) == len(whole) > SIZE


def test_events_and_markets_list_the_same_universe(get):
    events = pages(get, "/events", "events", limit=37, with_nested_markets="true")
    nested = {m["ticker"]: m for event in events for m in event["markets"]}
    listed = pages(get, "/markets", "markets", limit=1000, mve_filter="exclude")
    assert nested == {m["ticker"]: m for m in listed}
    assert len({event["event_ticker"] for event in events}) == len(events)


def test_a_cursor_survives_the_coming_and_going_of_markets():
    at = NOW // 3600 * 3600 + 3590
    with running_exchange(SimulatedUniverse(markets=400), clock=clock_at(at)) as first:
        page = httpx.get(f"{first.url}/markets", params={"limit": 300}).json()
    with running_exchange(SimulatedUniverse(markets=400), clock=clock_at(at + 2 * 3600)) as later:
        params = {"limit": 1000, "cursor": page["cursor"]}
        rest = httpx.get(f"{later.url}/markets", params=params).json()["markets"]
    last_event = page["markets"][-1]["event_ticker"]
    assert rest
    assert all(market["event_ticker"] >= last_event for market in rest)
    assert not {m["ticker"] for m in rest} & {m["ticker"] for m in page["markets"]}


@pytest.mark.parametrize(
    ("word", "statuses"),
    [
        ("unopened", {"initialized"}),
        ("open", {"active"}),
        ("paused", {"inactive"}),
        ("closed", {"closed", "determined", "disputed", "amended"}),
        ("settled", {"finalized"}),
    ],
)
def test_the_status_filter_has_words_of_its_own(get, word, statuses):
    results = pages(get, "/markets", "markets", limit=1000, status=word)
    assert {market["status"] for market in results} <= statuses
    assert results or word == "paused"


def test_combinations_are_among_the_markets_unless_excluded(get):
    combos = get("/markets", mve_filter="only")["markets"]
    assert combos
    for combo in combos:
        assert combo["ticker"].startswith("KXMVE")
        assert len(combo["mve_selected_legs"]) == 2
        for leg in combo["mve_selected_legs"]:
            assert get(f"/markets/{leg['market_ticker']}")["market"]["event_ticker"]
    excluded = pages(get, "/markets", "markets", limit=1000, mve_filter="exclude")
    events = pages(get, "/events", "events")
    assert not [m for m in excluded if m["ticker"].startswith("KXMVE")]
    assert not [e for e in events if e["event_ticker"].startswith("KXMVE")]


def test_markets_are_found_by_ticker_event_and_series(get):
    market = get("/markets", series_ticker="KXBTCD", status="open")["markets"][0]
    by_event = get("/markets", event_ticker=market["event_ticker"])["markets"]
    tickers = [m["ticker"] for m in by_event][:5]
    assert market["ticker"] in {m["ticker"] for m in by_event}
    named = get("/markets", tickers=",".join([*tickers, "KXNONE"]))["markets"]
    assert [m["ticker"] for m in named] == tickers
    assert "." in market["ticker"]
    assert get(f"/markets/{market['ticker']}")["market"] == market


def test_times_filter_their_own_family(get):
    closing = get("/markets", min_close_ts=NOW, max_close_ts=NOW + 3600, limit=1000)["markets"]
    assert closing
    assert all(NOW <= seconds(m["close_time"]) <= NOW + 3600 for m in closing)
    settled = get("/markets", min_settled_ts=NOW - 3600, limit=1000)["markets"]
    assert settled
    assert all(seconds(m["settlement_ts"]) >= NOW - 3600 for m in settled)
    created = get("/markets", min_created_ts=NOW - 7200, limit=1000)["markets"]
    assert created
    assert all(seconds(m["created_time"]) >= NOW - 7200 for m in created)


@pytest.mark.parametrize(
    ("path", "params", "named"),
    [
        ("/markets", {"status": "active"}, "status"),
        ("/markets", {"limit": "0"}, "limit"),
        ("/markets", {"limit": "1001"}, "limit"),
        ("/markets", {"limit": "many"}, "limit"),
        ("/markets", {"cursor": "%%%"}, "cursor"),
        ("/markets", {"min_close_ts": 1, "max_created_ts": 2}, "min_close_ts"),
        ("/markets", {"min_close_ts": 1, "status": "open"}, "status"),
        ("/markets", {"min_settled_ts": 1, "status": "closed"}, "status"),
        ("/markets", {"min_updated_ts": 1, "series_ticker": "KXBTCD"}, "mve_filter"),
        ("/events", {"limit": "201"}, "limit"),
        ("/events", {"with_nested_markets": "maybe"}, "with_nested_markets"),
        ("/markets/orderbooks", {}, "tickers"),
        ("/markets/trades", {"min_ts": "yesterday"}, "min_ts"),
        ("/historical/markets", {"tickers": "A", "event_ticker": "B"}, "tickers"),
    ],
)
def test_a_malformed_parameter_is_refused_by_name(client, path, params, named):
    reply = client.get(path, params=params)
    assert reply.status_code == 400
    assert set(reply.json()) == {"code", "message", "details"}
    assert named in reply.json()["message"]


@pytest.mark.parametrize(
    "path",
    [
        "/markets/KXNONE-26NOV20-T1.5",
        "/markets/KXNONE/orderbook",
        "/events/KXNONE-26NOV20",
        "/series/KXNONE",
        "/historical/markets/KXNONE",
        "/nothing/here",
    ],
)
def test_the_unknown_is_not_found(client, path):
    reply = client.get(path)
    assert reply.status_code == 404
    unknown = re.search(r"KXNONE[^/]*", path)
    assert (unknown[0] if unknown else path) in reply.json()["message"]


def test_candles_need_their_parameters(client, get):
    path = f"/series/KXHIGHNY/markets/{open_market(get, 'KXHIGHNY')}/candlesticks"
    span = {"start_ts": NOW - 3600, "end_ts": NOW, "period_interval": 60}
    for name, value in (("period_interval", 5), ("start_ts", ""), ("end_ts", NOW - 7200)):
        assert client.get(path, params=span | {name: value}).status_code == 400
    assert client.get(path.replace("KXHIGHNY/", "KXBTCD/"), params=span).status_code == 404


# Lifecycles


def test_settled_markets_say_how_and_when(get):
    results = pages(get, "/markets", "markets", limit=1000, status="settled")
    values = {"yes": "1.0000", "no": "0.0000"}
    for market in results:
        expected = values.get(market["result"], market["settlement_value_dollars"])
        assert market["settlement_value_dollars"] == expected
        assert seconds(market["settlement_ts"]) > seconds(market["close_time"])
        assert market["expiration_value"]
        assert market["yes_bid_size_fp"] == market["yes_ask_size_fp"] == "0.00"
    assert {"yes", "no"} <= {market["result"] for market in results}


def satisfied(strike_type: str, value: float, floor: float | None, cap: float | None) -> bool:
    if strike_type == "between":
        return floor is not None and cap is not None and floor <= value <= cap
    if strike_type == "less":
        return cap is not None and value < cap
    return floor is not None and (value > floor if strike_type == "greater" else value >= floor)


def test_results_follow_from_the_published_figure(get):
    for market in pages(get, "/markets", "markets", limit=1000, status="settled"):
        if market["result"] == "scalar" or "mve_selected_legs" in market:
            continue
        floor, cap = market.get("floor_strike"), market.get("cap_strike")
        if floor is None and cap is None:
            won = market["expiration_value"] == market["yes_sub_title"]
        else:
            value = float(market["expiration_value"])
            won = satisfied(market["strike_type"], value, floor, cap)
        assert won == (market["result"] == "yes"), market["ticker"]


def test_a_game_closes_when_it_is_decided():
    with running_exchange(SimulatedUniverse(markets=SIZE), clock=clock_at(NOW)) as early:
        games = httpx.get(
            f"{early.url}/markets", params={"series_ticker": "KXNFLGAME", "status": "open"}
        ).json()["markets"]
        game = min(games, key=lambda market: market["expected_expiration_time"])
    with running_exchange(SimulatedUniverse(markets=SIZE), clock=clock_at(NOW + DAY)) as late:
        closed = httpx.get(f"{late.url}/markets/{game['ticker']}").json()["market"]
    assert game["can_close_early"]
    assert game["early_close_condition"]
    assert closed["status"] == "finalized"
    assert seconds(closed["close_time"]) < seconds(game["close_time"]) - 7 * DAY


def test_an_unplayed_game_settles_in_between():
    universe = SimulatedUniverse(markets=SIZE)
    line = next(line for line in universe.lines if line.series.ticker == "KXMLBGAME")
    numbers = line.numbers(NOW, NOW + 900 * DAY)
    event = next(e for e in (universe.event(line, n) for n in numbers) if e.void)
    with running_exchange(universe, clock=clock_at(event.settled)) as exchange:
        reply = httpx.get(f"{exchange.url}/events/{event.ticker}?with_nested_markets=true").json()
    for market in reply["event"]["markets"]:
        assert market["result"] == "scalar"
        assert market["settlement_value_dollars"] == "0.5000"


def test_the_long_settled_move_to_history(get, client):
    cutoff = seconds(get("/historical/cutoff")["market_settled_ts"])
    past = pages(get, "/historical/markets", "markets", limit=1000)
    assert len(past) > 500
    settled = [seconds(market["settlement_ts"]) for market in past]
    assert settled == sorted(settled, reverse=True)
    assert max(settled) < cutoff
    gone = past[0]
    assert client.get(f"/markets/{gone['ticker']}").status_code == 404
    assert get(f"/historical/markets/{gone['ticker']}")["market"] == gone
    event = get(f"/events/{gone['event_ticker']}", with_nested_markets="true")
    assert event["markets"] == []
    live = pages(get, "/markets", "markets", limit=1000, status="settled")
    assert min(seconds(market["settlement_ts"]) for market in live) >= cutoff


def test_fees_change_when_they_were_said_to(get):
    changes = get("/series/fee_changes", series_ticker="KXNFLGAME", show_historical="true")
    times = [seconds(c["scheduled_ts"]) for c in changes["series_fee_change_arr"]]
    past = [c for c in changes["series_fee_change_arr"] if seconds(c["scheduled_ts"]) <= NOW]
    assert times == sorted(times)
    assert max(times) > NOW
    assert get("/series/KXNFLGAME")["series"]["fee_multiplier"] == past[-1]["fee_multiplier"]


def test_some_events_have_fees_of_their_own_now_or_soon():
    with (
        running_exchange(SimulatedUniverse(markets=3000), clock=clock_at(NOW)) as exchange,
        httpx.Client(base_url=exchange.url, timeout=30) as client,
    ):
        get = lambda path, **params: client.get(path, params=params).json()  # noqa: E731
        changes = pages(get, "/events/fee_changes", "event_fee_changes", limit=3)
        now = {c["event_ticker"]: None for c in changes}
        now |= {
            c["event_ticker"]: c["fee_multiplier_override"]
            for c in changes
            if seconds(c["scheduled_ts"]) <= NOW
        }
        for ticker, multiplier in now.items():
            event = get(f"/events/{ticker}")["event"]
            assert event.get("fee_multiplier_override") == multiplier
    assert {None, 0.5} <= set(now.values())
    assert len({c["id"] for c in changes}) == len(changes)
    assert any(NOW < seconds(c["scheduled_ts"]) < NOW + 3 * DAY for c in changes)


# Books, trades, candles


def test_the_book_begins_with_the_quote(get):
    markets = get("/markets", status="open", limit=1000)["markets"][::9][:100]
    books = get("/markets/orderbooks", tickers=[m["ticker"] for m in markets])
    for market, book in zip(markets, books["orderbooks"], strict=True):
        sides = book["orderbook_fp"]
        for levels, price, size in (
            (sides["yes_dollars"], market["yes_bid_dollars"], market["yes_bid_size_fp"]),
            (sides["no_dollars"], market["no_bid_dollars"], market["yes_ask_size_fp"]),
        ):
            assert (levels[-1] if levels else ["0.0000", "0.00"]) == [price, size]
            assert [level[0] for level in levels] == sorted({level[0] for level in levels})


def test_depth_keeps_the_best_levels(get):
    markets = get("/markets", status="open", limit=200)["markets"]
    books = [get(f"/markets/{m['ticker']}/orderbook")["orderbook_fp"] for m in markets[:40]]
    deep, book = next(
        (m, b) for m, b in zip(markets, books, strict=False) if len(b["yes_dollars"]) > 2
    )
    best = get(f"/markets/{deep['ticker']}/orderbook", depth=2)["orderbook_fp"]
    assert best["yes_dollars"] == book["yes_dollars"][-2:]


def test_trades_add_up_to_the_volume(get):
    market = max(
        get("/markets", series_ticker="KXBTCD", limit=1000)["markets"],
        key=lambda m: float(m["volume_fp"]),
    )
    trades = pages(get, "/markets/trades", "trades", ticker=market["ticker"], limit=83)
    assert len(trades) > 100
    assert len({trade["trade_id"] for trade in trades}) == len(trades)
    assert sum(round(float(t["count_fp"]) * 100) for t in trades) == round(
        float(market["volume_fp"]) * 100
    )
    times = [seconds(trade["created_time"]) for trade in trades]
    assert times == sorted(times, reverse=True)
    assert market["last_price_dollars"] == trades[0]["yes_price_dollars"]


def test_trades_of_a_span_lie_within_it(get):
    whole = pages(get, "/markets/trades", "trades", min_ts=NOW - 600, max_ts=NOW - 300, limit=1000)
    times = [seconds(trade["created_time"]) for trade in whole]
    assert whole
    assert min(times) >= NOW - 600
    assert max(times) <= NOW - 300
    small = pages(get, "/markets/trades", "trades", min_ts=NOW - 600, max_ts=NOW - 300, limit=61)
    assert small == whole


def test_candles_agree_with_the_quotes_and_trades(get, exchange):
    ticker = open_market(get, "KXBTCD")
    end = NOW // 60 * 60
    span = {"start_ts": end - 1200, "end_ts": end, "period_interval": 1}
    candles = get(f"/series/KXBTCD/markets/{ticker}/candlesticks", **span)["candlesticks"]
    board = exchange.service.exchange.listings.live(NOW)
    row = board.row_of[ticker]
    trades = pages(get, "/markets/trades", "trades", ticker=ticker, limit=1000)
    assert [c["end_period_ts"] for c in candles] == list(range(end - 1200, end + 1, 60))
    for candle in candles:
        close = candle["end_period_ts"]
        inside = [t for t in trades if close - 60 < seconds(t["created_time"]) <= close]
        instants = book_instants(close - 60, close, inside)
        quotes = board.books.best(np.full(len(instants), row), instants)
        for name, prices in (("yes_bid", quotes.bid), ("yes_ask", quotes.ask)):
            values = (prices[0], prices.min(), prices.max(), prices[-1])
            written = [f"{value / 10_000:.4f}" for value in values]
            assert list(candle[name].values()) == written
        assert float(candle["volume_fp"]) == pytest.approx(
            sum(float(t["count_fp"]) for t in inside)
        )
        prices = [t["yes_price_dollars"] for t in inside]
        assert candle["price"]["high_dollars"] == max(prices, default=None)
        assert candle["price"]["close_dollars"] == (prices[0] if prices else None)


def book_instants(start: int, end: int, trades: list[Any]) -> np.ndarray:
    """Instants of a span between which a book does not move, in microseconds, ascending."""
    moved = [second * SECOND for second in range(start, end + 1, 5)]
    moved += [round(seconds(trade["created_time"]) * SECOND) for trade in trades]
    before = [at - 1 for at in moved if at > start * SECOND]
    return np.unique(np.array(moved + before))


def test_days_end_at_midnight_in_new_york(get):
    ticker = open_market(get, "KXFEDDECISION")
    span = {"start_ts": NOW - 40 * DAY, "end_ts": NOW, "period_interval": 1440}
    candles = get(f"/series/KXFEDDECISION/markets/{ticker}/candlesticks", **span)["candlesticks"]
    hours = {datetime.fromtimestamp(c["end_period_ts"], UTC).hour for c in candles}
    # Daylight saving time ended within this span.
    assert hours == {4, 5}
    assert len(candles) == 40


# Time


def test_a_restart_changes_nothing(get):
    again = subprocess_exchange(get)
    assert again == pages(get, "/markets", "markets", limit=1000)


def subprocess_exchange(get: Get) -> list[Any]:
    with (
        running_exchange(SimulatedUniverse(markets=SIZE), clock=clock_at(NOW)) as exchange,
        httpx.Client(base_url=exchange.url) as client,
    ):
        return pages(
            lambda path, **p: client.get(path, params=p).json(), "/markets", "markets", limit=1000
        )


def test_a_faster_clock_shows_settlements_sooner():
    with running_exchange(
        SimulatedUniverse(markets=100), clock=clock_at(NOW, speed=3600.0)
    ) as exchange:
        path = f"{exchange.url}/markets"
        before = httpx.get(path, params={"series_ticker": "KXBTC15M", "status": "open"}).json()
        ticker = before["markets"][0]["ticker"]
        deadline = time.monotonic() + 10
        status = "active"
        while status != "finalized" and time.monotonic() < deadline:
            time.sleep(0.1)
            status = httpx.get(f"{path}/{ticker}").json()["market"]["status"]
    assert status == "finalized"


def test_ladders_of_an_hour_ago_and_of_an_hour_hence_are_other_events():
    tickers = []
    for at in (NOW, NOW + 3600):
        with running_exchange(SimulatedUniverse(markets=400), clock=clock_at(at)) as exchange:
            reply = httpx.get(f"{exchange.url}/events", params={"series_ticker": "KXBTC15M"}).json()
        tickers.append({event["event_ticker"] for event in reply["events"]})
    assert tickers[1] - tickers[0]


def test_volumes_of_two_instants_only_grow(get):
    before = {m["ticker"]: m for m in pages(get, "/markets", "markets", limit=1000)}
    with (
        running_exchange(SimulatedUniverse(markets=SIZE), clock=clock_at(NOW + 60)) as exchange,
        httpx.Client(base_url=exchange.url) as client,
    ):
        page = client.get("/markets", params={"limit": 1000}).json()["markets"]
    common = [(before[m["ticker"]], m) for m in page if m["ticker"] in before]
    assert common
    assert all(float(a["volume_fp"]) <= float(b["volume_fp"]) for a, b in common)


def test_ladders_are_listed_from_low_to_high(get):
    event = get("/events", series_ticker="KXCPIYOY", with_nested_markets="true")["events"][0]
    strikes = [market["floor_strike"] for market in event["markets"]]
    assert all(a < b for a, b in pairwise(strikes))


def test_combos_are_events_of_their_own_listing_alone(get):
    combos = pages(get, "/events/multivariate", "events", with_nested_markets=True)
    assert combos
    assert all(event["event_ticker"].startswith("KXMVE") for event in combos)
    assert all(market["mve_selected_legs"] for event in combos for market in event["markets"])
    listed = {event["event_ticker"] for event in pages(get, "/events", "events")}
    assert listed.isdisjoint(event["event_ticker"] for event in combos)
