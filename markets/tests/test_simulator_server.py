"""The simulated exchange's HTTP: connections, limits and faults on request."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from markets.simulator import Fault, Running, Universe, running

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def exchange() -> Iterator[Running]:
    with running(Universe(markets=100)) as exchange:
        yield exchange


@pytest.fixture(scope="module")
def client(exchange: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=exchange.url, timeout=30) as client:
        yield client


@pytest.fixture
def misbehaving(exchange: Running) -> Iterator[Running]:
    yield exchange
    exchange.behave()


def test_the_bucket_empties_and_fills_again():
    with (
        running(Universe(markets=100), rate=100.0) as exchange,
        httpx.Client(base_url=exchange.url) as client,
    ):
        replies = [client.get("/exchange/status") for _ in range(60)]
        codes = [reply.status_code for reply in replies]
        refused = next(reply for reply in replies if reply.status_code == 429)
        time.sleep(0.2)
        assert client.get("/exchange/status").status_code == 200
    # 300 tokens at first, 10 for a request.
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
    misbehaving.misbehave(Fault(status=503, count=2, path="/markets"))
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
    misbehaving.misbehave(Fault(cut=True, count=1))
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/markets")
    misbehaving.misbehave(Fault(latency=0.3, count=1))
    start = time.monotonic()
    assert client.get("/markets").status_code == 200
    assert time.monotonic() - start >= 0.3


def test_a_malformed_page_is_no_json(client, misbehaving):
    misbehaving.misbehave(Fault(malformed=True, count=1))
    reply = client.get("/markets")
    assert reply.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        reply.json()


def test_one_market_goes_bad_and_one_is_crossed(client, misbehaving):
    bad, crossed, fine = (m["ticker"] for m in client.get("/markets?limit=3").json()["markets"])
    misbehaving.misbehave(Fault(bad_market=bad, crossed_market=crossed, unknown_field=True))
    page = {m["ticker"]: m for m in client.get("/markets?limit=3").json()["markets"]}
    assert not re.fullmatch(r"[0-9.]+", page[bad]["yes_bid_dollars"])
    assert page[crossed]["yes_bid_dollars"] > page[crossed]["yes_ask_dollars"]
    assert re.fullmatch(r"[0-9.]+", page[fine]["yes_bid_dollars"])
    assert "simulated_novelty" in page[fine]


def test_a_cursor_gets_stuck(client, misbehaving):
    misbehaving.misbehave(Fault(stuck_cursor=True))
    first = client.get("/markets?limit=10").json()["cursor"]
    assert client.get(f"/markets?limit=10&cursor={first}").json()["cursor"] == first


def test_it_runs_as_a_process_without_django():
    command = [sys.executable, "-m", "markets.simulator", "--port", "0", "--markets", "100"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = re.search(r"http://\S+", line)
        assert url is not None, line
        status = httpx.get(f"{url[0]}/exchange/status").json()
        process.terminate()
        assert process.wait(timeout=10) == 0
    assert status["exchange_active"] is True
