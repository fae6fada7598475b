import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from markets.kalshi import payloads
from markets.kalshi.client import ConfigurationError, KalshiClient, KalshiError, Page
from markets.kalshi.replies import ExchangeStatus
from markets.recording.recorder import kalshi_client

# The exchange's clock has whole seconds, and it does not document how much skew it accepts.
MAX_NORMAL_SKEW = 2
MAX_ACCEPTED_SKEW = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `wrong` if the operator has to fix it."""

    subject: str
    words: str
    wrong: bool = False


class Command(BaseCommand):
    help = "Check the connection to the exchange, the clock, the key and the payloads."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        wrong = 0
        for finding in findings():
            wrong += finding.wrong
            mark = "WRONG" if finding.wrong else "ok"
            self.stdout.write(f"{mark:<6} {finding.subject:<9} {finding.words}")
        if wrong:
            raise CommandError(f"{wrong} of these must be fixed.")


def findings() -> Iterator[Finding]:
    yield Finding("address", settings.KALSHI_API_URL)
    try:
        client = kalshi_client()
    except ConfigurationError as fault:
        yield Finding("key", str(fault), wrong=True)
        return
    began = time.monotonic()
    try:
        status = client.exchange_status()
    except KalshiError as fault:
        yield Finding("reach", str(fault), wrong=True)
        return
    yield Finding("reach", f"answered in {time.monotonic() - began:.2f} s")
    yield from (exchange(status), clock(client), key(client), drift(client))


def exchange(status: ExchangeStatus) -> Finding:
    words = (
        f"exchange {activity(status.exchange_active)}, trading {activity(status.trading_active)}"
    )
    if status.exchange_estimated_resume_time:
        words += f", expected back at {status.exchange_estimated_resume_time:%Y-%m-%d %H:%M} UTC"
    return Finding("exchange", words)


def activity(active: bool) -> str:
    return "active" if active else "paused"


def clock(client: KalshiClient) -> Finding:
    if client.clock_skew is None:
        return Finding("clock", "the exchange does not say what time it is")
    seconds = client.clock_skew.total_seconds()
    if abs(seconds) <= MAX_NORMAL_SKEW:
        return Finding("clock", f"agrees with the exchange's within {MAX_NORMAL_SKEW} s")
    words = f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} the exchange's"
    return Finding("clock", words, wrong=abs(seconds) > MAX_ACCEPTED_SKEW)


def key(client: KalshiClient) -> Finding:
    if not client.key_type:
        return Finding(
            "key", f"none: public data only, at {settings.KALSHI_RATE:g} tokens a second"
        )
    try:
        limits = client.account_limits()
    except KalshiError as fault:
        return Finding("key", f"{client.key_type}: {fault}", wrong=True)
    allowed, used = limits.read.refill_rate, settings.KALSHI_RATE
    words = f"{client.key_type}, accepted: tier {limits.usage_tier}, {allowed} tokens a second"
    if used > allowed:
        return Finding("key", f"{words}, fewer than KALSHI_RATE={used:g}", wrong=True)
    return Finding("key", f"{words}, of which KALSHI_RATE uses {used:g}")


@dataclass(slots=True)
class Tally:
    events: int = 0
    markets: int = 0
    reasons: list[str] = field(default_factory=list)


def drift(client: KalshiClient) -> Finding:
    try:
        tally = read_all(client.events(status="open"))
    except KalshiError as fault:
        return Finding("drift", str(fault), wrong=True)
    words = f"{tally.events} events and {tally.markets} markets read"
    if tally.reasons:
        words += f", {len(tally.reasons)} rejected, the first since {tally.reasons[0]}"
    return Finding("drift", words, wrong=len(tally.reasons) > tally.markets)


def read_all(page: Page) -> Tally:
    tally = Tally()
    for raw in page.items:
        try:
            event = payloads.event(raw)
        except msgspec.MsgspecError as reason:
            tally.reasons.append(f"{payloads.ticker_of(raw)}: {reason}")
            continue
        tally.events += 1
        read_markets(event.markets, tally)
    return tally


def read_markets(raws: list[msgspec.Raw], tally: Tally) -> None:
    for raw in raws:
        try:
            payloads.quote(raw)
            payloads.market(raw)
        except msgspec.MsgspecError as reason:
            tally.reasons.append(f"{payloads.ticker_of(raw)}: {reason}")
        else:
            tally.markets += 1
