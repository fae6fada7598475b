"""Noise: how often the best of many trials without skill is called certain, and the time that the
test of entry moments takes.

Returns are normal, have fat tails, or are those of favourites at 97 cents and fair prices. The
plain ratio does not know of the other trials, the deflated one does.
"""

import time
from dataclasses import replace
from functools import partial

import numpy as np

from backtests.analysis.permutation import significance_of
from backtests.data.universe import CONTRACT, DOLLAR, MISSING, SECOND, Floats, Quotes, Settlement
from backtests.rules.execution import JOURNAL, EntryKind, RunOutcome
from backtests.tests import noise
from backtests.tests.journal_builders import universe_of_rows

FAMILIES = 2_000
CERTAIN = 0.95
MARKETS, ROWS, ENTRIES_OF_A_MARKET = 2_000, 500, 20


def main() -> None:
    rejections("normal returns", noise.normal)
    rejections("t distribution, 5 degrees of freedom", partial(noise.fat_tailed, freedom=5))
    for bets in (20, 5):
        rejections(f"favourites at 97 cents, {bets} a day", partial(noise.favourites, bets=bets))
    time_of_significance()


def rejections(title: str, draw: noise.DrawOf) -> None:
    print(f"  {title}: called more than 95 % certain, plain and deflated, of {FAMILIES:,} families")
    for periods in (30, 60, 365):
        shares = []
        for trials in (1, 2, 10, 100):
            families = (draw, FAMILIES, trials, periods)
            plain = noise.undeflated_of_best(*families, seed=trials)
            deflated = noise.best_of_noise(*families, seed=trials)
            shares.append(f"{share(plain)} {share(deflated)}")
        print(f"    {periods:>3} days, 1, 2, 10, 100 trials: {'   '.join(shares)}", flush=True)


def share(values: Floats) -> str:
    return f"{np.mean(values > CERTAIN):6.2%}"


def time_of_significance() -> None:
    """Print the time for entries in markets that moved at random."""
    rng = np.random.default_rng(1)
    rows = MARKETS * ROWS
    at = np.repeat(np.arange(ROWS), MARKETS) * SECOND
    ask = rng.integers(2, 99, rows) * 100
    unknown = np.full(rows, MISSING)
    quotes = Quotes(
        at, np.tile(np.arange(MARKETS), ROWS), ask - 100, ask, unknown, unknown, unknown, unknown,
        unknown, np.ones(rows, np.bool_),
    )  # fmt: skip
    ended = [Settlement(ROWS * SECOND, ROWS * SECOND, 0)] * MARKETS
    universe = replace(universe_of_rows([], settlements=ended), quotes=quotes)
    journal = np.zeros((MARKETS * ENTRIES_OF_A_MARKET, len(JOURNAL)), np.int64)
    columns = {name: journal[:, place] for place, name in enumerate(JOURNAL)}
    columns["market"][:] = np.repeat(np.arange(MARKETS), ENTRIES_OF_A_MARKET)
    columns["at"][:] = rng.integers(0, ROWS - 1, len(journal)) * SECOND
    columns["kind"][:], columns["side"][:], columns["count"][:] = EntryKind.FILL, 1, CONTRACT
    for entries in (1_000, 4_000, len(journal)):
        begun = time.process_time()
        found = significance_of(universe, RunOutcome(journal[:entries], DOLLAR, {}))
        seconds = time.process_time() - begun
        print(
            f"  moments of {entries:,} entries, {found.entries:,} of them moved {found.moves:,}"
            f" times, {rows:,} rows: {seconds:.2f} s of CPU time",
            flush=True,
        )


if __name__ == "__main__":
    main()
