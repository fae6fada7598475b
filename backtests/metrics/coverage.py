"""Coverage: how much of a run's window its traded markets were observed, and what gaps cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from backtests.data.causes import CAUSES
from backtests.data.universe import CONTRACT, DOLLAR, SECOND, Bools, Ints, Universe
from backtests.metrics.marks import EquityPath, final_prices
from backtests.metrics.waits import traded_markets
from backtests.rules.execution import JOURNAL_COLUMN, RunOutcome
from backtests.rules.ledger import WHOLE
from backtests.rules.meetings import fills_across_gaps, meetings
from kalshi_insights.arrays import np

HOUR = 3_600 * SECOND
# An hour counts as thin if less of its tradable time was observed.
LEAST_OBSERVED = 0.9
# The times of so many markets fit behind each other into 64 bits.
MARKETS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class GapTotal:
    """The gaps of one cause, added up over the traded markets."""

    count: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageFigures:
    """The observation of the traded markets in the window of a run.

    `observed_share` is the share of the time in which they could be traded; `gaps` adds up by
    cause when they were not observed in it. `fills_across_gaps` were sent before and made after a
    gap, `pnl_across_gaps` is what they gained up to the end. `thin_hours` are the hours of the
    clock with less than `LEAST_OBSERVED` of their tradable time observed, `pnl_of_thin_hours` is
    what the whole run gained in them. Money is in millionths of a dollar.
    """

    observed_share: float | None = None
    gaps: Mapping[str, GapTotal] = field(default_factory=dict)
    fills_across_gaps: int = 0
    pnl_across_gaps: int = 0
    thin_hours: int = 0
    pnl_of_thin_hours: int = 0


class TradedTimes(NamedTuple):
    """Periods of markets, from `start` on and before `end`; `market` numbers the traded ones."""

    market: Ints
    start: Ints
    end: Ints

    def clipped(self, start: int, end: int) -> "TradedTimes":
        times = self._replace(start=np.maximum(self.start, start), end=np.minimum(self.end, end))
        return times.select(times.start < times.end)

    def select(self, rows: Bools | Ints) -> "TradedTimes":
        return TradedTimes(self.market[rows], self.start[rows], self.end[rows])


def coverage(
    universe: Universe, outcome: RunOutcome, path: EquityPath, *, end: int, latency: int
) -> CoverageFigures:
    """Compute the coverage of a run whose window ends before `end`, and whose orders arrive
    `latency` microseconds after they are sent."""
    traded = traded_markets(outcome)
    start = int(path.at[0])
    gaps, causes = _gaps(universe, traded, start, end)
    tradable = merged(_joined(_tradable(universe, traded, end=end).clipped(start, end), gaps))
    whole, missed = (int((times.end - times.start).sum()) for times in (tradable, gaps))
    met = meetings(universe, outcome, latency=latency)
    crossing = fills_across_gaps(universe, outcome.journal, met)
    edges = hours(start, end)
    thin = _thin(time_within(tradable, edges), time_within(gaps, edges))
    return CoverageFigures(
        observed_share=1 - missed / whole if whole else None,
        gaps=_totals(gaps, causes),
        fills_across_gaps=len(crossing),
        pnl_across_gaps=gained(universe, outcome, crossing),
        thin_hours=int(thin.sum()),
        pnl_of_thin_hours=int(np.diff(path.equity_at(edges))[thin].sum()),
    )


def hours(start: int, end: int) -> Ints:
    """The start, the full hours of the clock after it, and the end."""
    return np.concatenate(([start], np.arange((start // HOUR + 1) * HOUR, end, HOUR), [end]))


def _thin(tradable: Ints, missed: Ints) -> Bools:
    return missed > (1 - LEAST_OBSERVED) * tradable


def _gaps(universe: Universe, traded: Ints, start: int, end: int) -> tuple[TradedTimes, Ints]:
    """The gaps of the traded markets within a window, and their causes."""
    gaps = universe.known_gaps()
    counts = gaps.spans[traded + 1] - gaps.spans[traded]
    market = np.repeat(np.arange(len(traded)), counts)
    number = np.arange(len(market)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = gaps.spans[traded][market] + number
    times = TradedTimes(
        market, np.maximum(gaps.since[rows], start), np.minimum(gaps.until[rows], end)
    )
    inside = times.start < times.end
    return times.select(inside), gaps.cause[rows][inside]


def _totals(gaps: TradedTimes, causes: Ints) -> dict[str, GapTotal]:
    seconds = np.bincount(causes, weights=gaps.end - gaps.start, minlength=len(CAUSES)) / SECOND
    counts = np.bincount(causes, minlength=len(CAUSES))
    return {
        name: GapTotal(int(counts[cause]), float(seconds[cause]))
        for cause, name in enumerate(CAUSES)
        if counts[cause]
    }


# --- periods ------------------------------------------------------------------------------------


def _tradable(universe: Universe, traded: Ints, *, end: int) -> TradedTimes:
    """The intervals in which the traded markets could be traded, as their rows tell."""
    quotes = universe.quotes
    number = np.full(len(universe.listings), -1)
    number[traded] = np.arange(len(traded))
    rows = np.flatnonzero(number[quotes.market] >= 0)
    rows = rows[np.argsort(quotes.market[rows], kind="stable")]
    market, at = number[quotes.market[rows]], quotes.at[rows]
    until = np.append(at[1:], end)
    until[np.append(market[1:] != market[:-1], True)[: len(market)]] = end
    return TradedTimes(market, at, until[: len(market)]).select(quotes.tradable[rows])


def _joined(one: TradedTimes, other: TradedTimes) -> TradedTimes:
    return TradedTimes(*(np.concatenate(columns) for columns in zip(one, other, strict=True)))


def merged(times: TradedTimes, *, at_once: int = MARKETS_AT_ONCE) -> TradedTimes:
    """The union of periods, market by market."""
    times = times.select(np.lexsort((times.start, times.market)))
    cuts = np.flatnonzero(np.diff(times.market // at_once)) + 1
    parts = np.split(np.arange(len(times.market)), cuts)
    return TradedTimes(
        *(
            np.concatenate(columns)
            for columns in zip(*(_merged(times.select(part)) for part in parts), strict=True)
        )
    )


def _merged(times: TradedTimes) -> TradedTimes:
    """The union of periods that go by market and start."""
    if not len(times.market):
        return times
    # On one axis of time, each market after the other.
    width = int(times.end.max()) - int(times.start.min()) + 1
    offset = (times.market - times.market[0]) * width
    reached = np.maximum.accumulate(times.end + offset)
    begins = np.append(True, times.start[1:] + offset[1:] > reached[:-1])
    ends = np.append(np.flatnonzero(begins)[1:] - 1, len(begins) - 1)
    return TradedTimes(times.market[begins], times.start[begins], (reached - offset)[ends])


def time_within(times: TradedTimes, edges: Ints) -> Ints:
    """The time of all periods together between each two edges."""

    def passed_since(instants: Ints) -> Ints:
        instants = np.sort(instants) - edges[0]
        # Sums wrap around, and so do their differences: what is left of them is right.
        sums = np.append(0, np.cumsum(instants))
        before = np.searchsorted(instants, edges - edges[0])
        passed: Ints = before * (edges - edges[0]) - sums[before]
        return passed

    return np.diff(passed_since(times.start) - passed_since(times.end))


# --- fills --------------------------------------------------------------------------------------


def gained(universe: Universe, outcome: RunOutcome, fills: Ints) -> int:
    """The gain of fills up to the end of a run, fees included, in millionths of a dollar.

    Their contracts count at the settlement value, and else at the final mark. Over all fills of a
    run this adds up to its P&L.
    """
    journal = outcome.journal[fills]
    market, side, count, price, fee = (
        journal[:, JOURNAL_COLUMN[name]] for name in ("market", "side", "count", "price", "fee")
    )
    markets = np.unique(market)
    worth = final_prices(universe, outcome, markets)[np.searchsorted(markets, market)]
    return int(np.sum(side * count * (worth - price * (WHOLE // DOLLAR)) // CONTRACT - fee))
