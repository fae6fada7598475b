"""Scores of the probabilities that a strategy states, beside those of the market's midpoint.

Each market is one observation: the first probability that was stated of it. Neither what happened
later nor what the strategy then traded has a say in which one counts.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from backtests.annotations.probabilities import StatedProbabilities
from backtests.data.universe import CONTRACT, DOLLAR, MONEY, Ints, Settlement, Universe
from backtests.metrics.events import clustered_error
from backtests.rules.execution import JOURNAL_COLUMN, EntryKind
from kalshi_insights.arrays import np

BILLION = 1_000_000_000  # parts of a score that are summed as integers


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbabilityFigures:
    """Scores of stated probabilities over `markets` that have settled; `unsettled` have not.

    `brier` is the mean squared difference from the outcome, `log_loss` the mean negative logarithm
    of the probability of what happened (natural), and those of the `midpoint` are of the market's
    own at the same instants. `advantage` is the midpoint's Brier score less the strategy's, with
    its standard error over `events`. A log loss is None, as it is infinite, where `certain_misses`
    were stated as impossible and happened, or as certain and did not.

    `stated_edge` is what the contracts of `fills` would gain after their fees if their order's
    probability was right, `settled_edge` what they gained so held to settlement, in millionths of
    a dollar; both are of settled markets.
    """

    markets: int = 0
    events: int = 0
    unsettled: int = 0
    brier: float | None = None
    midpoint_brier: float | None = None
    advantage: float | None = None
    advantage_error: float | None = None
    log_loss: float | None = None
    midpoint_log_loss: float | None = None
    certain_misses: int = 0
    fills: int = 0
    stated_edge: int | None = None
    settled_edge: int | None = None


class ScoredStatement(NamedTuple):
    event: str
    probability: float
    midpoint: float
    outcome: float


def score_probabilities(
    universe: Universe, journal: Ints, stated: StatedProbabilities | None
) -> ProbabilityFigures:
    """Score what a strategy stated in a run with this journal.

    Brier (1950), "Verification of forecasts expressed in terms of probability"; Good (1952),
    "Rational decisions".
    """
    if stated is None:
        return ProbabilityFigures()
    scored = list(_scored(universe, stated))
    fills, stated_edge, settled_edge = _edges(universe.settlements, journal, stated.of_orders)
    gains = _squares(scored)
    error = clustered_error(gains)
    return ProbabilityFigures(
        markets=len(scored),
        events=len(gains),
        unsettled=len(stated.first) - len(scored),
        brier=_mean([(each.probability - each.outcome) ** 2 for each in scored]),
        midpoint_brier=_mean([(each.midpoint - each.outcome) ** 2 for each in scored]),
        advantage=_mean([gain / BILLION for cluster in gains for gain in cluster]),
        advantage_error=None if error is None else error / BILLION,
        log_loss=_mean([log_loss(each.probability, each.outcome) for each in scored]),
        midpoint_log_loss=_mean([log_loss(each.midpoint, each.outcome) for each in scored]),
        certain_misses=sum(math.isinf(log_loss(each.probability, each.outcome)) for each in scored),
        fills=fills,
        stated_edge=round(stated_edge) if fills else None,
        settled_edge=round(settled_edge) if fills else None,
    )


def log_loss(probability: float, outcome: float) -> float:
    """The negative logarithm of the probability of what happened; of a scalar outcome, weighted."""
    return _weighted(outcome, probability) + _weighted(1 - outcome, 1 - probability)


def _weighted(weight: float, probability: float) -> float:
    if not weight:
        return 0.0
    return -weight * math.log(probability) if probability > 0 else math.inf


def _scored(universe: Universe, stated: StatedProbabilities) -> Iterator[ScoredStatement]:
    for market, first in stated.first.items():
        ended, listing = universe.settlements[market], universe.listings[market]
        if ended is not None:
            event = listing.event or listing.ticker
            outcome = ended.value / MONEY
            yield ScoredStatement(event, first.probability, first.midpoint, outcome)


def _squares(scored: Sequence[ScoredStatement]) -> list[list[int]]:
    """By event, how much nearer to each outcome the probability was than the midpoint, squared."""
    events = defaultdict(list)
    for each in scored:
        own, other = each.probability - each.outcome, each.midpoint - each.outcome
        events[each.event].append(round((other**2 - own**2) * BILLION))
    return list(events.values())


def _edges(
    settlements: Sequence[Settlement | None], journal: Ints, of_orders: Mapping[int, float]
) -> tuple[int, float, float]:
    """The fills of orders with a probability in settled markets, and their two edges."""
    fills = journal[journal[:, JOURNAL_COLUMN["kind"]] == EntryKind.FILL]
    names = ("market", "order", "side", "count", "price", "fee")
    columns = fills[:, [JOURNAL_COLUMN[name] for name in names]].tolist() if of_orders else []
    found, stated_edge, settled_edge = 0, 0.0, 0.0
    for market, order, side, count, price, fee in columns:
        ended = settlements[market]
        if ended is None or order not in of_orders:
            continue
        found += 1
        stated_edge += side * count * (of_orders[order] * DOLLAR - price) - fee
        settled_edge += side * count * (ended.value / CONTRACT - price) - fee
    return found, stated_edge, settled_edge


def _mean(values: Sequence[float]) -> float | None:
    """The mean; None without any value, and where it is infinite."""
    if not values:
        return None
    mean = float(np.mean(values))
    return mean if math.isfinite(mean) else None
