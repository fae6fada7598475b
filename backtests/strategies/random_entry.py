"""A yardstick: what chance would have come to, fees and all."""

from hashlib import blake2b
from typing import ClassVar

import numpy as np

from backtests.data.universe import SECOND, Ints, Seen
from backtests.strategies import indicators
from backtests.strategies.base import CONTRACTS, HOLD, Parameter, Schema, Signal


class RandomEntry(Signal):
    """Side and moment are drawn from the ticker and the seed, so that a market's are the same
    among whatever other markets and whatever its prices do."""

    name = "random-entry"
    version = "1"
    summary = "Buys a random side of every market at a random moment, and holds it."
    schema: ClassVar[Schema] = {
        "seed": Parameter(
            default=1, least=0, most=2**31 - 1, help="Another seed draws other sides and moments."
        ),
        "hours": Parameter(
            default=24.0, least=0.0, most=87_600.0, unit="hours",
            help="Enter at most so long after a market's first quote, and before its close as "
            "scheduled then.",
        ),
        "contracts": CONTRACTS,
    }  # fmt: skip

    def targets(self, seen: Seen) -> Ints:
        sizes = np.diff(seen.starts)
        there = np.flatnonzero(sizes)
        tickers = [seen.listings[place].ticker for place in there.tolist()]
        draws = np.array([_draws(self.p.seed, ticker) for ticker in tickers])
        draws = draws.reshape(-1, 2)
        begun = seen.starts[there]
        span = np.fmin(seen.seconds_to_close[begun], self.p.hours * 3_600).clip(min=0)
        due = seen.at[begun] + (draws[:, 0] * span * SECOND).astype(np.int64)
        side = np.where(draws[:, 1] < 0.5, -self.p.contracts, self.p.contracts)
        is_due = seen.at >= np.repeat(due, sizes[there])
        return np.where(is_due & indicators.two_sided(seen), np.repeat(side, sizes[there]), HOLD)


def _draws(seed: int, ticker: str) -> tuple[float, float]:
    """Two numbers from 0 to 1."""
    digest = blake2b(f"{seed} {ticker}".encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8]) / 2**64, int.from_bytes(digest[8:]) / 2**64
