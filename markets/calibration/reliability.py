"""The reliability curve: how often markets of a price came true.

It takes arrays of prices and of outcomes, both from 0 to 1, and of events, so that it serves
observations of the database, of files and of an archive alike.
"""

from dataclasses import dataclass

from kalshi_insights.arrays import Bools, Floats, Ints, np
from markets.calibration.resampling import SHARE, EventResamples, SampleBounds, bounds, ratio

BINS = 10
MINIMUM = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityBin:
    """The observations with a price from `low` on and before `high`; the last bin has 1, too.

    `price` and `outcome` are means, None where too few events are in the bin to say anything.
    """

    low: float
    high: float
    count: int
    events: int
    price: float | None
    outcome: float | None
    outcome_low: float | None
    outcome_high: float | None


def bin_edges(bins: int) -> Floats:
    return np.arange(bins + 1) / bins


def bins_of(prices: Floats, bins: int) -> Ints:
    """Return the number of each price's bin."""
    return np.searchsorted(bin_edges(bins)[1:-1], prices, "right")


def reliability(
    prices: Floats, outcomes: Floats, events: Ints, *, bins: int = BINS, minimum: int = MINIMUM
) -> list[ReliabilityBin]:
    """Return the curve in bins of equal width, without figures of bins with few events.

    Raises ValueError for prices or outcomes outside of 0 to 1.
    """
    require_unit(prices=prices, outcomes=outcomes)
    drawn = EventResamples(events, bins_of(prices, bins), bins)
    counts, in_bin = drawn.totals(), drawn.events()
    price, outcome = (ratio(drawn.totals(each), counts) for each in (prices, outcomes))
    found = bounds(ratio(drawn.samples(outcomes), drawn.samples()))
    low, high = _where_all_agree(found, _agree(drawn, outcomes), outcome, in_bin)
    edges = bin_edges(bins)
    return [
        ReliabilityBin(
            low=float(edges[n]),
            high=float(edges[n + 1]),
            count=int(counts[n]),
            events=int(in_bin[n]),
            price=shown(price[n], in_bin[n] >= minimum),
            outcome=shown(outcome[n], in_bin[n] >= minimum),
            outcome_low=shown(low[n], in_bin[n] >= minimum),
            outcome_high=shown(high[n], in_bin[n] >= minimum),
        )
        for n in range(bins)
    ]


def _agree(drawn: EventResamples, outcomes: Floats) -> Bools:
    """Return the bins whose outcomes are all 0, or all 1."""
    counts = drawn.totals()
    zeros, ones = (drawn.totals((outcomes == value).astype(float)) for value in (0, 1))
    agree: Bools = (counts > 0) & ((zeros == counts) | (ones == counts))
    return agree


def _where_all_agree(
    found: SampleBounds, agree: Bools, outcome: Floats, events: Ints
) -> SampleBounds:
    """Widen the interval of bins in which every market ended alike: all samples of these are the
    same, whatever their number. The exact bound of a binomial share stands there instead
    (Clopper and Pearson, 1934), with each event as one trial.
    """
    reach = ((1 - SHARE) / 2) ** (1 / np.maximum(events, 1))
    low = np.where(agree & (outcome == 1), reach, found.low)
    high = np.where(agree & (outcome == 0), 1 - reach, found.high)
    return SampleBounds(low, high)


def shown(value: float, is_enough: bool) -> float | None:
    return float(value) if is_enough and np.isfinite(value) else None


def require_unit(**columns: Floats) -> None:
    for name, values in columns.items():
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"{name} must lie between 0 and 1")
