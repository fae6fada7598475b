"""Waits: how long orders waited for the observation that they met, and what met none."""

from dataclasses import dataclass

from backtests.data.universe import MISSING, SECOND, Ints, Universe
from backtests.rules.execution import JOURNAL_COLUMN, EntryKind, RunOutcome
from backtests.rules.meetings import meetings
from kalshi_insights.arrays import np

# The distance of observations is that of so many of the traded markets, evenly chosen.
MARKETS_ASKED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Seconds from the arrival of orders to the observations that they met.

    `met` counts those orders, `never_met` the ones that ended before an observation, and
    `unfinished` those that were still on their way when the run ended; orders that were refused,
    and amendments that needed no observation, are in none. `between_observations` is the median
    distance of the traded markets' observations: what happened within it the record cannot tell.
    """

    met: int = 0
    never_met: int = 0
    unfinished: int = 0
    median: float | None = None
    percentile_95: float | None = None
    longest: float | None = None
    between_observations: float | None = None


def waits(universe: Universe, outcome: RunOutcome, *, latency: int) -> Waits:
    """Compute the waits of a run whose orders arrive `latency` microseconds after they are sent."""
    found = meetings(universe, outcome, latency=latency)
    if not len(found.rows):
        return Waits()
    waited = found.waits()
    waited = waited[waited != MISSING] / SECOND
    known = bool(len(waited))
    return Waits(
        met=len(waited),
        never_met=found.never_met,
        unfinished=int(np.count_nonzero(found.unfinished)),
        median=float(np.median(waited)) if known else None,
        percentile_95=float(np.percentile(waited, 95)) if known else None,
        longest=float(waited.max()) if known else None,
        between_observations=between_observations(universe, traded_markets(outcome)),
    )


def traded_markets(outcome: RunOutcome) -> Ints:
    """The markets in which a run ordered anything."""
    return np.unique(outcome.journal[:, JOURNAL_COLUMN["market"]])


def between_observations(universe: Universe, markets: Ints) -> float | None:
    """Return the median seconds between two observations of some of these markets."""
    step = -(-len(markets) // MARKETS_ASKED)
    observed = universe.observations()
    asked = [observed.of_market(int(market)) for market in markets[::step]]
    distances = np.concatenate([np.diff(instants) for instants in asked])
    return float(np.median(distances)) / SECOND if len(distances) else None


def better_prices(journal: Ints) -> int:
    """Return the money that fills at better prices than their orders' limits brought or saved."""
    kind = journal[:, JOURNAL_COLUMN["kind"]]
    sent, fills = journal[kind == EntryKind.ORDER], journal[kind == EntryKind.FILL]
    limits = np.zeros(1 + int(journal[:, JOURNAL_COLUMN["order"]].max(initial=0)), np.int64)
    limits[sent[:, JOURNAL_COLUMN["order"]]] = sent[:, JOURNAL_COLUMN["price"]]
    side, count, price, order = (
        fills[:, JOURNAL_COLUMN[name]] for name in ("side", "count", "price", "order")
    )
    return int(np.sum((limits[order] - price) * side * count))
