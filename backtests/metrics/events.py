"""P&L by event: markets of one event share one outcome, so they are one observation."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from backtests.data.universe import DAY, Listing
from backtests.metrics.sharpe import CONFIDENCE, NORMAL


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFigures:
    """Figures of the events that were traded; open positions count at their marks.

    `win_rate` is the share with a profit after fees, `win_rate_low` and `win_rate_high` its bounds
    with 95 % confidence. `mean_pnl` and its standard error are in millionths of a dollar. Events
    of one series that ended on the same UTC day form one of the error's `clusters`.
    """

    traded: int = 0
    won: int = 0
    win_rate: float | None = None
    win_rate_low: float | None = None
    win_rate_high: float | None = None
    mean_pnl: int | None = None
    mean_pnl_error: int | None = None
    clusters: int = 0


def pnl_by_event(pnl: Mapping[int, int], listings: Sequence[Listing]) -> dict[str, int]:
    """Add up the P&L of markets by event; a market without an event counts as one."""
    total: Counter[str] = Counter()
    for market, gained in pnl.items():
        total[_event(listings[market])] += gained
    return dict(total)


def figures_by_event(
    pnl: Mapping[int, int], ended: Mapping[int, int], listings: Sequence[Listing]
) -> EventFigures:
    """Compute the figures from each market's P&L and the instant of its last trade."""
    events = pnl_by_event(pnl, listings)
    if not events:
        return EventFigures()
    won = sum(gained > 0 for gained in events.values())
    low, high = wilson(won, len(events))
    clusters = _clusters(events, ended, listings)
    error = clustered_error(clusters)
    return EventFigures(
        traded=len(events),
        won=won,
        win_rate=won / len(events),
        win_rate_low=low,
        win_rate_high=high,
        mean_pnl=round(Fraction(sum(events.values()), len(events))),
        mean_pnl_error=None if error is None else round(error),
        clusters=len(clusters),
    )


def wilson(won: int, of: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share, also where it is 0 or 1.

    Wilson (1927), "Probable inference, the law of succession, and statistical inference".
    """
    z = NORMAL.inv_cdf((1 + CONFIDENCE) / 2)
    centre = (won + z * z / 2) / (of + z * z)
    half = z * math.sqrt(won * (of - won) / of + z * z / 4) / (of + z * z)
    # Rounding must not push a bound past the share it bounds.
    return min(won / of, max(0.0, centre - half)), max(won / of, min(1.0, centre + half))


def clustered_error(clusters: Sequence[Sequence[int]]) -> float | None:
    """The standard error of a mean whose values may be correlated within a cluster.

    It is the root of the sum of squares of the clusters' summed residuals, over n^2, times
    G / (G - 1) for G clusters; with one value in each cluster it is the ordinary standard error.
    None for a single cluster. Liang and Zeger (1986), "Longitudinal data analysis using
    generalized linear models".
    """
    groups = len(clusters)
    if groups < 2:
        return None
    values = sum(len(cluster) for cluster in clusters)
    mean = Fraction(sum(sum(cluster) for cluster in clusters), values)
    squares = sum((sum(cluster) - len(cluster) * mean) ** 2 for cluster in clusters)
    return math.sqrt(squares / values**2 * groups / (groups - 1))


def _clusters(
    events: Mapping[str, int], ended: Mapping[int, int], listings: Sequence[Listing]
) -> list[list[int]]:
    series: dict[str, str] = {}
    last: dict[str, int] = defaultdict(int)
    for market, at in ended.items():
        event = _event(listings[market])
        series[event] = listings[market].series or event
        last[event] = max(last[event], at)
    clusters = defaultdict(list)
    for event, gained in events.items():
        clusters[series[event], last[event] // DAY].append(gained)
    return list(clusters.values())


def _event(listing: Listing) -> str:
    return listing.event or listing.ticker
