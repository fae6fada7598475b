"""A backfill goes on beside a market whose replies fail or are no JSON."""

import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from markets.backfill.progress import BackfillProgress
from markets.backfill.request import BackfillRequest
from markets.backfill.runner import backfill
from markets.kalshi.errors import ServerError
from markets.models import Candlestick, Trade
from markets.tests.fake_exchange import market_json, one_page
from markets.tests.test_backfill_edges import EVENT, HOUR, START, PastExchange, candle, trade

pytestmark = pytest.mark.django_db(transaction=True)

TICKERS = ("KXA-1-X", "KXA-1-Y", "KXA-2-X", "KXA-2-Y", "KXA-3-X")


@dataclass
class FaultyExchange(PastExchange):
    """An exchange with a series of markets, which fails at any reply with one of `poison`."""

    poison: set[str] = field(default_factory=set)
    garbled: dict[str, str] = field(default_factory=dict)
    poisoned_path: str = ""
    down: bool = False

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/trade-api/v2")
        text = json.dumps(self.body(path, request.url.params))
        poisoned = any(f'"{name}"' in text or f"/{name}/" in path for name in self.poison)
        if self.down or (poisoned and self.poisoned_path in path):
            return httpx.Response(500)
        for written, sent in self.garbled.items():
            text = text.replace(written, sent)
        return httpx.Response(200 if text != "null" else 404, content=text.encode())

    def body(self, path: str, parameters: httpx.QueryParams) -> Any:
        if path == "/markets" and "tickers" not in parameters:
            event = parameters.get("event_ticker", "KXA-")
            listed = [market for name, market in self.live.items() if name.startswith(event)]
            return one_page("markets", listed, httpx.Request("GET", "/", params=parameters))
        if path.startswith("/series"):
            return {"candlesticks": [candle(START + HOUR)]}
        own = {
            "/exchange/status": {"exchange_active": True, "trading_active": True},
            "/events": {"events": self.events(parameters)},
            "/markets/candlesticks": {"markets": batch(parameters.get("market_tickers", ""))},
            "/markets/trades": {"trades": [one_trade(parameters.get("ticker", ""))]},
        }
        return own.get(path) or super().body(path, parameters)

    def events(self, parameters: httpx.QueryParams) -> list[Any]:
        names = sorted({ticker[:5] for ticker in self.live})
        requested = parameters.get("tickers", ",".join(names)).split(",")
        return [EVENT | {"event_ticker": name} for name in names if name in requested]


def batch(tickers: str) -> list[Any]:
    candlesticks = [candle(START + HOUR)]
    return [{"market_ticker": t, "candlesticks": candlesticks} for t in tickers.split(",")]


def one_trade(ticker: str) -> Any:
    return trade(f"1 of {ticker}", START + HOUR / 2, ticker=ticker)


@pytest.fixture
def faulty() -> FaultyExchange:
    opened = {"open_time": "2026-11-01T14:00:00Z"}
    return FaultyExchange(live={ticker: market_json(ticker, **opened) for ticker in TICKERS})


def fill(exchange: FaultyExchange, **which: Any) -> BackfillProgress:
    request = BackfillRequest(start=START, end=START + 2 * HOUR, trades=True, **which)
    with exchange.client() as client:
        return backfill(client, request, on_progress=lambda _: None)


def filled() -> set[str]:
    return set(Candlestick.objects.values_list("market__ticker", flat=True))


@pytest.mark.parametrize("which", [{"tickers": TICKERS}, {"series": "KXA"}])
def test_a_title_that_is_no_json_costs_its_market(faulty, which):
    faulty.live["KXA-2-X"]["title"] = "A FAULT"
    faulty.garbled["A FAULT"] = "\\ud83d"
    progress = fill(faulty, **which)
    assert filled() == set(TICKERS) - {"KXA-2-X"}
    assert progress.reasons[0].startswith("KXA-2-X: ")


def test_a_trade_and_a_candlestick_that_are_no_json_cost_themselves(faulty):
    faulty.garbled["1 of KXA-2-X"] = "\x02"
    faulty.garbled['"KXA-1-Y", "candlesticks"'] = '"\x02", "candlesticks"'
    progress = fill(faulty, tickers=TICKERS)
    assert Trade.objects.count() == 4
    assert filled() == set(TICKERS)
    assert progress.rejected == 1


@pytest.mark.parametrize("which", [{"tickers": TICKERS}, {"series": "KXA"}, {"event": "KXA-2"}])
def test_a_market_that_is_never_answered_for_costs_itself(faulty, which):
    fill(faulty, tickers=("KXA-2-Y",))
    faulty.poison = {"KXA-2-X"}
    progress = fill(faulty, **which)
    assert "KXA-2-X" not in filled()
    if "event" not in which:
        assert {"KXA-1-X", "KXA-1-Y", "KXA-3-X"} <= filled()
    assert any(reason.startswith("KXA-2") for reason in progress.reasons)


def test_candlesticks_that_are_never_answered_are_left_to_the_next_run(faulty):
    faulty.poison, faulty.poisoned_path = {"KXA-2-X"}, "candlesticks"
    progress = fill(faulty, tickers=TICKERS)
    assert filled() == set(TICKERS) - {"KXA-2-X"}
    assert [reason.partition(":")[0] for reason in progress.reasons] == ["KXA-2-X"]
    assert progress.share < 1
    faulty.poison = set()
    assert fill(faulty, tickers=TICKERS).share == 1
    assert filled() == set(TICKERS)


def test_an_exchange_that_fails_as_a_whole_ends_the_backfill(faulty):
    faulty.down = True
    for which in ({"tickers": TICKERS}, {"series": "KXA"}, {"event": "KXA-2"}):
        with pytest.raises(ServerError):
            fill(faulty, **which)
