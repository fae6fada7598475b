"""A universe of 80,000 markets with 5 % changed: parse, compare, write, on one core."""

import random
from functools import partial

from django.db import transaction

from benchmarks import measure
from benchmarks.measure import chunks, page_of, peak_megabytes, report, tickers, timed
from benchmarks.recording import begin
from markets.kalshi.client import Page
from markets.recorder import Batch, store

MARKETS = 80_000
CHANGED = MARKETS // 20
PAGE = 1_000
# As many pages as a tick takes in.
SLICE = 8
ROUNDS = 3


def main() -> None:
    measure.migrate()
    steps = dict.fromkeys(tickers(MARKETS), 0)
    for chunk in chunks(list(steps), PAGE * SLICE):
        begin(chunk)
    before = peak_megabytes()
    sweeps = [sweep(steps, round_) for round_ in range(1, ROUNDS + 1)]
    typical = measure.median(sweeps)
    report(
        f"{MARKETS:,} markets, {CHANGED:,} changed, median of {ROUNDS}",
        f"{typical:.2f} s",
        ratio=f"{MARKETS / typical:,.0f} markets/s",
        target="target 4 s",
    )
    peak = peak_megabytes()
    report("peak memory", f"{peak:.0f} MB", ratio=f"{before:.0f} MB before", target="target 500 MB")


def sweep(steps: dict[str, int], round_: int) -> float:
    """Seconds for all slices, from bytes in memory to commits."""
    steps |= dict.fromkeys(random.Random(round_).sample(list(steps), CHANGED), round_)
    written = 0
    total = 0.0
    for names in chunks(list(steps), PAGE * SLICE):
        pages = [page_of({name: steps[name] for name in chunk}) for chunk in chunks(names, PAGE)]
        batch = Batch()
        total += timed(partial(record, batch, pages))
        written += batch.markets
    assert written == MARKETS
    return total


def record(batch: Batch, pages: list[Page]) -> None:
    for page in pages:
        batch.see_markets(page)
    with transaction.atomic():
        store(batch)


if __name__ == "__main__":
    main()
