"""Scores of probabilities: the Brier score with its parts, log loss, and the mean error."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kalshi_insights.arrays import Floats, Ints, np
from markets.calibration.reliability import BINS, MINIMUM, bins_of, require_unit, shown
from markets.calibration.resampling import EventResamples, bounds, ratio

LEAST_UNCERTAINTY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The scores of a set of prices; intervals are None where too few events are in it.

    `brier` is `reliability` - `resolution` + `uncertainty` + `within_bins`: the parts of Murphy
    (A new vector partition of the probability score, 1973), and what they leave out because a bin
    holds different prices. `bias` is the mean outcome less the mean price.
    """

    count: int
    events: int
    price: float
    outcome: float
    bias: float
    bias_low: float | None
    bias_high: float | None
    brier: float
    brier_low: float | None
    brier_high: float | None
    reliability: float
    resolution: float
    uncertainty: float
    within_bins: float
    skill: float | None
    log_loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupScores:
    """The scores of a group of markets, as in `Scores`; None where it has few events."""

    group: str
    count: int
    events: int
    price: float | None
    outcome: float | None
    bias: float | None
    bias_low: float | None
    bias_high: float | None
    brier: float | None
    brier_low: float | None
    brier_high: float | None
    skill: float | None


class GroupedPrices(NamedTuple):
    """Prices with their outcomes, events, and the place of each one's group among the groups."""

    prices: Floats
    outcomes: Floats
    events: Ints
    places: Ints


class BrierParts:
    """The parts of a Brier score by bins; see `Scores`."""

    def __init__(self, prices: Floats, outcomes: Floats, bins: int) -> None:
        cells = bins_of(prices, bins)
        counts = np.bincount(cells, minlength=bins)
        price, outcome = (
            ratio(np.bincount(cells, values, bins), counts) for values in (prices, outcomes)
        )
        weights = counts / len(prices)
        met = counts > 0
        mean = outcomes.mean()
        self.score = float(((prices - outcomes) ** 2).mean())
        self.reliability = float((weights * (price - outcome) ** 2)[met].sum())
        self.resolution = float((weights * (outcome - mean) ** 2)[met].sum())
        self.uncertainty = float(((outcomes - mean) ** 2).mean())
        self.within_bins = self.score - self.reliability + self.resolution - self.uncertainty


def scores(
    prices: Floats, outcomes: Floats, events: Ints, *, bins: int = BINS, minimum: int = MINIMUM
) -> Scores | None:
    """Return the scores of prices, None where there are none.

    Raises ValueError for prices or outcomes outside of 0 to 1.
    """
    if not len(prices):
        return None
    require_unit(prices=prices, outcomes=outcomes)
    drawn = EventResamples(events, np.zeros(len(prices), np.int64), 1)
    parts = BrierParts(prices, outcomes, bins)
    count = drawn.samples()
    brier = bounds(ratio(drawn.samples((prices - outcomes) ** 2), count))
    bias = bounds(ratio(drawn.samples(outcomes - prices), count))
    is_enough = drawn.events()[0] >= minimum
    return Scores(
        count=len(prices),
        events=int(drawn.events()[0]),
        price=float(prices.mean()),
        outcome=float(outcomes.mean()),
        bias=float((outcomes - prices).mean()),
        bias_low=float(bias.low[0]) if is_enough else None,
        bias_high=float(bias.high[0]) if is_enough else None,
        brier=parts.score,
        brier_low=float(brier.low[0]) if is_enough else None,
        brier_high=float(brier.high[0]) if is_enough else None,
        reliability=parts.reliability,
        resolution=parts.resolution,
        uncertainty=parts.uncertainty,
        within_bins=parts.within_bins,
        skill=1 - parts.score / parts.uncertainty if parts.uncertainty else None,
        log_loss=log_loss(prices, outcomes),
    )


def group_scores(
    grouped: GroupedPrices, groups: Sequence[str], *, minimum: int = MINIMUM
) -> list[GroupScores]:
    """Return the scores of each group.

    Raises ValueError for prices or outcomes outside of 0 to 1.
    """
    prices, outcomes, events, places = grouped
    require_unit(prices=prices, outcomes=outcomes)
    drawn = EventResamples(events, places, len(groups))
    counts, in_group, sampled = drawn.totals(), drawn.events(), drawn.samples()
    columns = {"price": prices, "outcome": outcomes}
    errors = {"bias": outcomes - prices, "brier": (prices - outcomes) ** 2}
    figures = {n: ratio(drawn.totals(v), counts) for n, v in (columns | errors).items()}
    for name, values in errors.items():
        found = bounds(ratio(drawn.samples(values), sampled))
        figures |= {f"{name}_low": found.low, f"{name}_high": found.high}
    spread = ratio(drawn.totals(outcomes**2), counts) - figures["outcome"] ** 2
    # Equal outcomes differ from their mean by what floats leave.
    uncertainty = np.where(spread < LEAST_UNCERTAINTY, 0, spread)
    figures["skill"] = ratio(uncertainty - figures["brier"], uncertainty)
    return [
        GroupScores(
            group=group,
            count=int(counts[n]),
            events=int(in_group[n]),
            **{name: shown(each[n], in_group[n] >= minimum) for name, each in figures.items()},
        )
        for n, group in enumerate(groups)
    ]


def log_loss(prices: Floats, outcomes: Floats) -> float | None:
    """Return the mean of -log of the price of what came true; None where a price was 0 or 1 and
    did not come true, since nothing is as wrong as that.
    """
    sure_and_wrong = ((prices == 0) & (outcomes > 0)) | ((prices == 1) & (outcomes < 1))
    if sure_and_wrong.any():
        return None
    came = _times_log(outcomes, prices) + _times_log(1 - outcomes, 1 - prices)
    return float(-came.mean()) + 0.0


def _times_log(share: Floats, price: Floats) -> Floats:
    """Return share x log(price), which is 0 for a share of 0."""
    safe = np.where(share > 0, price, 1.0)
    return share * np.log(safe)
