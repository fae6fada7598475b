"""The deepest drawdown: how far, and for how long, equity lay below its peak."""

from dataclasses import dataclass

from backtests.data.universe import DAY, Ints
from kalshi_insights.arrays import np


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawdown:
    """The deepest fall of equity below the highest it had been, as a share of that peak.

    `amount` is in millionths of a dollar. `start` is when equity left the peak, `bottom` when it
    was lowest, `end` when it was back at the peak, None where it never was; `days` count until
    then, or until the end of the run. Without a fall, amount and share are 0 and the rest is None.

    Magdon-Ismail and Atiya (2004), "Maximum drawdown".
    """

    amount: int
    share: float
    start: int | None = None
    bottom: int | None = None
    end: int | None = None
    days: float | None = None


def deepest(at: Ints, equity: Ints) -> Drawdown:
    """Find the deepest drawdown of equity that begins above zero; points hold until the next."""
    peaks = np.maximum.accumulate(equity)
    share = (peaks - equity) / peaks
    bottom = int(np.argmax(share))
    if not share[bottom]:
        return Drawdown(amount=0, share=0.0)
    peak = peaks[bottom]
    left = int(np.flatnonzero(equity[:bottom] == peak)[-1]) + 1
    back = np.flatnonzero(equity[bottom:] >= peak)
    end = int(at[bottom + back[0]]) if len(back) else None
    until = int(at[-1]) if end is None else end
    return Drawdown(
        amount=int(peak - equity[bottom]),
        share=float(share[bottom]),
        start=int(at[left]),
        bottom=int(at[bottom]),
        end=end,
        days=(until - int(at[left])) / DAY,
    )
