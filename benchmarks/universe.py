"""A universe of 80,000 markets with 5 % changed: all but waiting for HTTP, on one core."""

import random
from collections.abc import Iterator
from functools import partial

import msgspec
from django.db import transaction

from benchmarks import measure
from benchmarks.measure import (
    OF_EVENT,
    chunks,
    page_of_events,
    peak_megabytes,
    report,
    tickers,
    timed,
)
from benchmarks.recording import begin
from benchmarks.spending import NOTHING, Spent, spent
from markets.kalshi import replies
from markets.kalshi.client import Page
from markets.models import Sweep, Tier
from markets.recording.batch import Batch, store
from markets.recording.tiers import add_listing_page

MARKETS = 80_000
CHANGED = MARKETS // 20
# 200 events.
PAGE = 200 * OF_EVENT
# As many pages as a tick takes in.
SLICE = 5
ROUNDS = 3


def main() -> None:
    measure.migrate()
    steps = dict.fromkeys(tickers(MARKETS), 0)
    for chunk in chunks(list(steps), PAGE * SLICE):
        begin(chunk)
    before = peak_megabytes()
    rounds = [sweep(steps, round_) for round_ in range(1, ROUNDS + 1)]
    typical, decoding = sorted(rounds, key=lambda each: each[0].processor)[ROUNDS // 2]
    report(
        f"{MARKETS:,} markets, {CHANGED:,} changed, median of {ROUNDS}, one core",
        f"{typical.processor:.2f} s",
        ratio=f"{typical.processor / decoding:.1f} x decoding its JSON ({decoding:.2f} s)",
        target="target 2 s",
    )
    report("  of which", "", ratio=typical.parts)
    peak = peak_megabytes()
    report("peak memory", f"{peak:.0f} MB", ratio=f"{before:.0f} MB before", target="target 500 MB")


def sweep(steps: dict[str, int], round_: int) -> tuple[Spent, float]:
    """What all slices took, from bytes in memory to commits; seconds to decode their bytes."""
    steps |= dict.fromkeys(random.Random(round_).sample(list(steps), CHANGED), round_)
    total, decoding, written = NOTHING, 0.0, 0
    for bodies in slices(steps):
        # From here on as in the recorder, whose batches last for a tick.
        batch = Batch()
        total += spent(partial(record, batch, bodies))
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
