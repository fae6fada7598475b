"""The HTTP server of the simulated exchange: connections, rate limits and injected faults."""

import json
import re
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from markets.simulator import Fault, RunningExchange, SimulatedUniverse, running_exchange
from markets.simulator.server import add_arguments

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def exchange() -> Iterator[RunningExchange]:
    with running_exchange(SimulatedUniverse(markets=100)) as exchange:
        yield exchange


@pytest.fixture(scope="module")
def client(exchange: RunningExchange) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=exchange.url, timeout=30) as client:
        yield client


@pytest.fixture
def misbehaving(exchange: RunningExchange) -> Iterator[RunningExchange]:
    yield exchange
    exchange.clear_faults()


def test_the_bucket_empties_and_fills_again():
    with (
        running_exchange(SimulatedUniverse(markets=100), rate=100.0) as exchange,
        httpx.Client(base_url=exchange.url) as client,
    ):
        replies = [client.get("/exchange/status") for _ in range(60)]
        codes = [reply.status_code for reply in replies]
        refused = next(reply for reply in replies if reply.status_code == 429)
        time.sleep(0.2)
        assert client.get("/exchange/status").status_code == 200
    # There are 300 tokens at first, and a request costs 10.
    assert codes[:30] == [200] * 30
    assert refused.json() == {"error": "too many requests"}
    assert "retry-after" not in refused.headers


def test_a_connection_is_kept_and_the_time_is_told(client):
    replies = [client.get("/exchange/status") for _ in range(3)]
    assert {reply.headers["connection"] for reply in replies} == {"keep-alive"}
    assert all(reply.headers["date"].endswith("GMT") for reply in replies)
    ports = {reply.extensions["network_stream"].get_extra_info("client_addr") for reply in replies}
    assert len(ports) == 1


def test_a_fault_comes_as_often_as_asked(client, misbehaving):
    misbehaving.add_fault(Fault(status=503, count=2, path="/markets"))
    assert client.get("/exchange/status").status_code == 200
    assert [client.get("/markets").status_code for _ in range(3)] == [503, 503, 200]


def test_faults_are_switched_over_http(client, misbehaving):
    with httpx.Client() as control:
        url = misbehaving.faults_url
        added = control.post(url, json={"rate_limited": True, "path": "/series*"})
        assert added.json() == {"faults": [{"path": "/series*", "rate_limited": True}]}
        assert client.get("/series/KXBTCD").status_code == 429
        assert control.post(url, json={"latincy": 1}).status_code == 400
        assert control.delete(url).json() == control.get(url).json() == {"faults": []}
    assert client.get("/series/KXBTCD").status_code == 200


def test_a_cut_connection_and_a_slow_answer(client, misbehaving):
    misbehaving.add_fault(Fault(cut=True, count=1))
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/markets")
    misbehaving.add_fault(Fault(latency=0.3, count=1))
    start = time.monotonic()
    assert client.get("/markets").status_code == 200
    assert time.monotonic() - start >= 0.3


def test_a_malformed_page_is_no_json(client, misbehaving):
    misbehaving.add_fault(Fault(malformed=True, count=1))
    reply = client.get("/markets")
    assert reply.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        reply.json()


def test_one_market_goes_bad_and_one_is_crossed(client, misbehaving):
    bad, crossed, fine = (m["ticker"] for m in client.get("/markets?limit=3").json()["markets"])
    misbehaving.add_fault(Fault(bad_market=bad, crossed_market=crossed, unknown_field=True))
    page = {m["ticker"]: m for m in client.get("/markets?limit=3").json()["markets"]}
    assert not re.fullmatch(r"[0-9.]+", page[bad]["yes_bid_dollars"])
    assert page[crossed]["yes_bid_dollars"] > page[crossed]["yes_ask_dollars"]
    assert re.fullmatch(r"[0-9.]+", page[fine]["yes_bid_dollars"])
    assert "simulated_novelty" in page[fine]


def test_a_cursor_gets_stuck(client, misbehaving):
    misbehaving.add_fault(Fault(stuck_cursor=True))
    first = client.get("/markets?limit=10").json()["cursor"]
    assert client.get(f"/markets?limit=10&cursor={first}").json()["cursor"] == first


def test_one_market_has_a_status_nobody_knows(client, misbehaving):
    odd, fine = (m["ticker"] for m in client.get("/markets?limit=2").json()["markets"])
    misbehaving.add_fault(Fault(bad_word_market=odd, unknown_word="hibernating"))
    page = {m["ticker"]: m["status"] for m in client.get("/markets?limit=2").json()["markets"]}
    assert page[odd] == "hibernating"
    assert page[fine] != "hibernating"


def test_prices_are_told_in_cents_as_they_once_were(client, misbehaving):
    [market] = client.get("/markets?limit=1&status=open").json()["markets"]
    book = client.get(f"/markets/{market['ticker']}/orderbook").json()["orderbook_fp"]
    misbehaving.add_fault(Fault(old_shape=True))
    [old] = client.get("/markets?limit=1&status=open").json()["markets"]
    assert old["yes_ask"] == round(float(market["yes_ask_dollars"]) * 100)
    assert old["volume"] == round(float(market["volume_fp"]))
    assert not [name for name in old if name.endswith(("_dollars", "_fp"))]
    ladder = client.get(f"/markets/{market['ticker']}/orderbook").json()["orderbook"]
    assert len(ladder["no"]) == len(book["no_dollars"])
    assert all(isinstance(price, int) for price, _ in ladder["no"])


def test_a_page_comes_twice_and_the_cursor_goes_on(client, misbehaving):
    first = client.get("/markets?limit=10").json()
    query = f"/markets?limit=10&cursor={first['cursor']}"
    second = client.get(query).json()
    misbehaving.add_fault(Fault(duplicate_page=True, count=1))
    # Another listing has no previous page.
    assert client.get("/markets?limit=10").json() == first
    assert client.get(f"/markets?limit=9&cursor={first['cursor']}").json()["markets"]
    again = client.get(query).json()
    assert tickers(again) == tickers(first)
    assert again["cursor"] == second["cursor"]
    assert tickers(client.get(query).json()) == tickers(second)


def tickers(page: dict[str, Any]) -> list[str]:
    return [market["ticker"] for market in page["markets"]]


def test_a_page_comes_in_another_order(client, misbehaving):
    page = client.get("/markets?limit=10").json()
    misbehaving.add_fault(Fault(shuffled=True))
    other = client.get("/markets?limit=10").json()
    assert tickers(other) not in (tickers(page), tickers(page)[::-1])
    assert sorted(tickers(other)) == sorted(tickers(page))
    assert other["cursor"] == page["cursor"]


def test_many_books_need_a_key_where_that_is_wanted(client):
    [ticker] = tickers(client.get("/markets?limit=1&status=open").json())
    key = dict.fromkeys(
        ("KALSHI-ACCESS-KEY", "KALSHI-ACCESS-TIMESTAMP", "KALSHI-ACCESS-SIGNATURE"), "1"
    )
    with (
        running_exchange(SimulatedUniverse(markets=100), needs_key=True) as exchange,
        httpx.Client(base_url=exchange.url) as strict,
    ):
        parameters = {"tickers": [ticker]}
        incomplete = dict(list(key.items())[:2])
        for headers, expected in (({}, 401), (incomplete, 401), (key, 200)):
            reply = strict.get("/markets/orderbooks", params=parameters, headers=headers)
            assert reply.status_code == expected
        assert strict.get(f"/markets/{ticker}/orderbook").status_code == 200
    assert client.get("/markets/orderbooks", params=parameters).status_code == 200


def test_books_are_named_one_by_one(client):
    names = tickers(client.get("/markets?limit=3&status=open").json())
    books = client.get("/markets/orderbooks", params={"tickers": names}).json()["orderbooks"]
    assert [book["ticker"] for book in books] == names
    joined = client.get("/markets/orderbooks", params={"tickers": ",".join(names)}).json()
    assert joined == {"orderbooks": []}
    assert client.get("/markets/orderbooks?" + "&tickers=A" * 101).status_code == 400


def test_it_runs_as_a_process_without_django():
    command = [sys.executable, "-m", "markets.simulator", "--port", "0", "--markets", "100"]
    command += ["--maintenance", "100:200", "--no-pauses", "--combos", "1500", "--needs-key"]
    command += ["--trades-per-second", "50"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            url = re.search(r"http://\S+", line)
            assert url is not None, line
            status = httpx.get(f"{url[0]}/exchange/status").json()
            front = httpx.get(f"{url[0]}/markets?limit=1000").json()["markets"]
        finally:
            process.terminate()
        assert process.wait(timeout=10) == 0
    assert status["exchange_active"] is status["trading_active"] is True
    assert {market["mve_collection_ticker"] for market in front} == {"KXMVECROSSCATEGORY"}


@pytest.mark.parametrize("given", ["0", "-3", "many", "inf"])
def test_a_rate_of_trades_is_a_number_above_zero(given, capsys):
    parser = ArgumentParser()
    add_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--trades-per-second", given])
    assert f"--trades-per-second: invalid positive value: '{given}'" in capsys.readouterr().err
