"""A yardstick: random trades, with their fees."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import ClassVar

from backtests.data.universe import SECOND, Floats, Ints, QuoteHistory
from backtests.strategies import indicators
from backtests.strategies.base import (
    CONTRACTS,
    HOLD,
    Parameter,
    Schema,
    Signal,
    decisions_within,
)
from kalshi_insights.arrays import np


class RandomEntry(Signal):
    """Enters at random; side and moment depend on ticker and seed alone, so they are the same
    whatever other markets are in the run and whatever prices do."""

    name = "random-entry"
    version = "2"
    summary = "Buys a random side of every market at a random moment, and holds it."
    schema: ClassVar[Schema] = {
        "seed": Parameter(
            default=1, least=0, most=2**31 - 1, help="The seed of the random sides and moments."
        ),
        "hours": Parameter(
            default=24.0, least=0.0, most=87_600.0, unit="hours",
            label="Maximum hours after the first quote",
            help="Enter within this time of a market's first quote, and before the close as "
            "scheduled then.",
        ),
        "contracts": CONTRACTS,
    }  # fmt: skip

    @property
    def decide_every(self) -> float:
        return decisions_within(self.p.hours)

    def targets(self, history: QuoteHistory) -> Ints:
        sizes = np.diff(history.starts)
        quoted = np.flatnonzero(sizes)
        tickers = [history.listings[market].ticker for market in quoted.tolist()]
        draws = _draws(self.p.seed, tickers)
        begun = history.starts[quoted]
        span = np.fmin(history.seconds_to_close[begun], self.p.hours * 3_600).clip(min=0)
        due = history.at[begun] + (draws[:, 0] * span * SECOND).astype(np.int64)
        side = np.where(draws[:, 1] < 0.5, -self.p.contracts, self.p.contracts)
        is_due = history.at >= np.repeat(due, sizes[quoted])
        entered = self.condition("its moment has come", is_due) & self.condition(
            "trading with both sides", indicators.two_sided(history)
        )
        return np.where(entered, np.repeat(side, sizes[quoted]), HOLD)


def _draws(seed: int, tickers: Sequence[str]) -> Floats:
    """Two pseudo-random numbers from 0 to 1 for each ticker."""
    digests = (blake2b(f"{seed} {ticker}".encode(), digest_size=16).digest() for ticker in tickers)
    numbers: Floats = np.frombuffer(b"".join(digests), ">u8").reshape(-1, 2) / 2**64
    return numbers
