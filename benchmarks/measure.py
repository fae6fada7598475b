"""Shared tools of the benchmarks: timing, percentiles, reports and canned markets."""

import os
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

import django
import msgspec
from django.core.management import call_command

from markets.kalshi.client import Page

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kalshi_insights.settings")
django.setup()

from markets.tests.fake_exchange import Exchange, market_json  # noqa: E402  (after the models are ready)

T = TypeVar("T")


def migrate() -> None:
    call_command("migrate", verbosity=0)


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def percentile(seconds: list[float], share: float) -> float:
    return sorted(seconds)[min(len(seconds) - 1, int(share * len(seconds)))]


def median(seconds: list[float]) -> float:
    return statistics.median(seconds)


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(what: str, figure: str, *, target: str = "", ratio: str = "") -> None:
    print(f"  {what:<58}{figure:>12}  {ratio:<50}  {target}".rstrip(), flush=True)


MARKETS_PER_EVENT = 8


def tickers(count: int) -> list[str]:
    places = (divmod(n, MARKETS_PER_EVENT) for n in range(count))
    return [f"KXBENCH{event % 20}-26NOV{event:05}-T{market}" for event, market in places]


def page_of(steps: dict[str, int]) -> Page:
    """Make a page of markets, each with the quote of its step."""
    body = msgspec.json.encode([market_with_quote(name, step) for name, step in steps.items()])
    return Page(
        items=msgspec.json.decode(body, type=list[msgspec.Raw]), cursor="", received_at=now()
    )


def page_of_events(steps: dict[str, int]) -> bytes:
    """Encode a reply of events with these markets nested, as the exchange sends it."""
    exchange = Exchange(
        markets={name: market_with_quote(name, step) for name, step in steps.items()}
    )
    inside: dict[str, list[object]] = {}
    for market in exchange.markets.values():
        inside.setdefault(market["event_ticker"], []).append(market)
    exchange.markets.clear()
    events = [exchange.event_json(name) | {"markets": inside[name]} for name in inside]
    return msgspec.json.encode({"events": events, "cursor": ""})


def market_with_quote(name: str, step: int) -> dict[str, Any]:
    bid = 0.10 + (hash((name, step)) % 70) / 100
    return market_json(
        name,
        event_ticker=name.rsplit("-", 1)[0],
        yes_bid_dollars=f"{bid:.4f}",
        yes_ask_dollars=f"{bid + 0.03:.4f}",
        volume_fp=f"{1000 + step}.00",
        rules_primary="If the bench is level, then the market resolves to Yes. " * 6,
    )


def now() -> datetime:
    return datetime.now(UTC)


def chunks(items: list[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
