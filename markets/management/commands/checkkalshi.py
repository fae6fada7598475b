"""A check of the connection to the exchange."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from markets.kalshi import payloads
from markets.kalshi.client import KalshiClient, Page
from markets.kalshi.errors import ConfigurationError, KalshiError
from markets.kalshi.reach import MAX_ACCEPTED_SKEW, skew_in_words
from markets.kalshi.replies import ExchangeStatus
from markets.recording.exchange import kalshi_client

# Seconds. The exchange sends its time in whole seconds.
MAX_NORMAL_SKEW = 2
# The first question is answered, or why it is not, within about as many seconds.
REACHED_WITHIN = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `wrong` marks what the operator must correct."""

    subject: str
    text: str
    wrong: bool = False


class Command(BaseCommand):
    help = (
        "Check the connection to the exchange: its address, the API key, the clocks, the rate"
        " limits, and whether its payloads still follow the contract."
    )
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        wrong = 0
        for finding in findings():
            wrong += finding.wrong
            mark = "WRONG" if finding.wrong else "ok"
            self.stdout.write(f"{mark:<6} {finding.subject:<9} {finding.text}")
        if wrong:
            raise CommandError(f"Problems to correct: {wrong}. See the lines marked WRONG.")


def findings() -> Iterator[Finding]:
    yield Finding("address", settings.KALSHI_API_URL)
    try:
        client = kalshi_client()
    except ConfigurationError as error:
        yield Finding("key", str(error), wrong=True)
        return
    began = time.monotonic()
    client.deadline = began + REACHED_WITHIN
    try:
        status = client.exchange_status()
    except KalshiError as error:
        yield Finding("reach", str(error), wrong=True)
        return
    finally:
        client.deadline = None
    yield Finding("reach", f"answered in {time.monotonic() - began:.2f} s")
    yield from (check_status(status), check_clock(client), check_key(client), check_drift(client))


def check_status(status: ExchangeStatus) -> Finding:
    exchange, trading = state(status.exchange_active), state(status.trading_active)
    text = f"exchange {exchange}, trading {trading}"
    if status.exchange_estimated_resume_time:
        text += (
            f", expected to resume at {status.exchange_estimated_resume_time:%Y-%m-%d %H:%M} UTC"
        )
    return Finding("exchange", text)


def state(active: bool) -> str:
    return "active" if active else "paused"


def check_clock(client: KalshiClient) -> Finding:
    if client.clock_skew is None:
        return Finding("clock", "not compared: the exchange's reply has no Date header")
    skew = client.clock_skew
    if abs(skew.total_seconds()) <= MAX_NORMAL_SKEW:
        return Finding("clock", f"agrees with the exchange's within {MAX_NORMAL_SKEW} s")
    text = skew_in_words(skew)
    if abs(skew) <= MAX_ACCEPTED_SKEW:
        return Finding("clock", text)
    return Finding("clock", f"{text}; synchronize it", wrong=True)


def check_key(client: KalshiClient) -> Finding:
    if not client.key_type:
        return Finding(
            "key", f"none: public data only, at {settings.KALSHI_RATE:g} tokens a second"
        )
    try:
        limits = client.account_limits()
    except KalshiError as error:
        return Finding("key", f"{client.key_type}: {error}", wrong=True)
    allowed, used = limits.read.refill_rate, settings.KALSHI_RATE
    text = f"{client.key_type}, accepted: tier {limits.usage_tier}, {allowed} tokens a second"
    if used > allowed:
        return Finding("key", f"{text}, fewer than KALSHI_RATE={used:g}; lower it", wrong=True)
    return Finding("key", f"{text}, of which KALSHI_RATE uses {used:g}")


@dataclass(slots=True)
class Tally:
    events: int = 0
    markets: int = 0
    reasons: list[str] = field(default_factory=list)


def check_drift(client: KalshiClient) -> Finding:
    """Parse one page of events with their markets."""
    try:
        tally = count_readable(client.events(status="open"))
    except KalshiError as error:
        return Finding("drift", str(error), wrong=True)
    text = f"{tally.events} events and {tally.markets} markets read"
    if tally.reasons:
        text += f", {len(tally.reasons)} rejected, the first because of {tally.reasons[0]}"
    return Finding("drift", text, wrong=len(tally.reasons) > tally.markets)


def count_readable(page: Page) -> Tally:
    tally = Tally()
    for raw in page.items:
        try:
            event = payloads.event(raw)
        except msgspec.MsgspecError as reason:
            tally.reasons.append(f"{payloads.ticker_of(raw)}: {reason}")
            continue
        tally.events += 1
        count_readable_markets(event.markets, tally)
    return tally


def count_readable_markets(raws: Sequence[msgspec.Raw], tally: Tally) -> None:
    for raw in raws:
        try:
            payloads.quote(raw)
            payloads.market(raw)
        except msgspec.MsgspecError as reason:
            tally.reasons.append(f"{payloads.ticker_of(raw)}: {reason}")
        else:
            tally.markets += 1
