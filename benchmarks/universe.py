"""A sweep of 80,000 markets with 5 % changed, without HTTP, on one core."""

import random
from collections.abc import Iterator
from functools import partial

import msgspec
from django.db import transaction

from benchmarks import measure
from benchmarks.cpu_time import NO_TIME, CpuTime, measure_cpu_time
from benchmarks.measure import (
    MARKETS_PER_EVENT,
    chunks,
    page_of_events,
    peak_megabytes,
    report,
    tickers,
    timed,
)
from benchmarks.recording import store_markets
from markets.kalshi import replies
from markets.kalshi.client import Page
from markets.models import Sweep, Tier
from markets.recording.batch import Batch, store
from markets.recording.listings import add_listing_page

MARKETS = 80_000
CHANGED = MARKETS // 20
# A page has 200 events.
PAGE = 200 * MARKETS_PER_EVENT
# Pages per tick.
SLICE = 5
ROUNDS = 3


def main() -> None:
    measure.migrate()
    steps = dict.fromkeys(tickers(MARKETS), 0)
    for chunk in chunks(list(steps), PAGE * SLICE):
        store_markets(chunk)
    before = peak_megabytes()
    rounds = [sweep(steps, round_) for round_ in range(1, ROUNDS + 1)]
    typical, decoding = sorted(rounds, key=lambda each: each[0].processor)[ROUNDS // 2]
    report(
        f"{MARKETS:,} markets, {CHANGED:,} changed, median of {ROUNDS}, one core",
        f"{typical.processor:.2f} s",
        ratio=f"{typical.processor / decoding:.1f} x decoding its JSON ({decoding:.2f} s)",
        target="target 2 s",
    )
    report("  time by process", "", ratio=typical.parts)
    peak = peak_megabytes()
    report("peak memory", f"{peak:.0f} MB", ratio=f"{before:.0f} MB before", target="target 500 MB")


def sweep(steps: dict[str, int], round_: int) -> tuple[CpuTime, float]:
    """Measure a sweep from bytes in memory to commits, and the seconds of decoding alone."""
    steps |= dict.fromkeys(random.Random(round_).sample(list(steps), CHANGED), round_)
    total, decoding, written = NO_TIME, 0.0, 0
    for bodies in slices(steps):
        # Like the recorder, this uses one batch per tick.
        batch = Batch()
        total += measure_cpu_time(partial(record, batch, bodies))
        written += batch.markets
        decoding += timed(partial(decode, bodies))
    assert written == MARKETS
    return total, decoding


def slices(steps: dict[str, int]) -> Iterator[list[bytes]]:
    for names in chunks(list(steps), PAGE * SLICE):
        yield [page_of_events({n: steps[n] for n in chunk}) for chunk in chunks(names, PAGE)]


def decode(bodies: list[bytes]) -> None:
    for body in bodies:
        msgspec.json.decode(body)


def record(batch: Batch, bodies: list[bytes]) -> None:
    passed = Sweep(tier=Tier.UNIVERSE, started_at=measure.now())
    for body in bodies:
        found = replies.envelope(body, "events")
        page = Page(found.items, found.cursor, measure.now())
        before = batch.markets
        rejected = batch.add_events_page(page)
        add_listing_page(passed, page, rejected=rejected, markets=batch.markets - before)
    with transaction.atomic():
        store(batch)
        passed.save()


if __name__ == "__main__":
    main()
