"""The bootstrap over events.

Markets of one event are settled by the same thing, so that whole events are drawn with
replacement (a cluster bootstrap: Davison and Hinkley, Bootstrap Methods and their Application,
1997, section 3.8), and the interval of a figure is that of its values in the samples.
"""

from typing import NamedTuple

from kalshi_insights.arrays import Bools, Floats, Ints, np

RESAMPLES = 1_000
# More events than these are put together at random into as many groups: groups are as independent
# as events are, and the width of an interval is known to two per cent from as many.
MOST_GROUPS = 1_000
SHARE = 0.95
SEED = 20_261_130


class SampleBounds(NamedTuple):
    low: Floats
    high: Floats


class EventResamples:
    """Samples of the events of some observations, drawn once for all figures of them.

    `cells` are the numbers of the bins of observations, from 0 to `size` - 1.
    """

    def __init__(self, events: Ints, cells: Ints, size: int, *, samples: int = RESAMPLES) -> None:
        self.cells, self.size = cells, size
        codes, self._event = np.unique(events, return_inverse=True)
        self._count = len(codes)
        groups = min(self._count, MOST_GROUPS)
        chance = np.random.default_rng(SEED)
        group_of = chance.permutation(self._count) % max(groups, 1)
        self._place = group_of[self._event] * size + cells
        self._groups = groups
        share = np.full(groups, 1 / groups) if groups else np.empty(0)
        self._drawn = (
            chance.multinomial(groups, share, size=samples).astype(float)
            if groups
            else np.zeros((samples, 0))
        )

    def totals(self, values: Floats | None = None) -> Floats:
        """Sum values by bin, or count them where there are none."""
        return np.bincount(self.cells, values, self.size).astype(float)

    def samples(self, values: Floats | None = None) -> Floats:
        """Return the same sums in each sample: one row a sample, one column a bin."""
        sums = np.bincount(self._place, values, self._groups * self.size)
        drawn: Floats = self._drawn @ sums.reshape(self._groups, self.size).astype(float)
        return drawn

    def events(self) -> Ints:
        """Count the events that have an observation in each bin."""
        met: Bools = np.zeros((self._count, self.size), bool)
        met[self._event, self.cells] = True
        return met.sum(axis=0)


def bounds(samples: Floats) -> SampleBounds:
    """Return the interval that holds `SHARE` of the samples of each column; NaN where none is."""
    tail = 100 * (1 - SHARE) / 2
    known = np.where(np.isfinite(samples), samples, np.nan)
    has_any = ~np.isnan(known).all(axis=0)
    low, high = np.full((2, known.shape[1]), np.nan)
    if has_any.any():
        low[has_any], high[has_any] = np.nanpercentile(
            known[:, has_any], [tail, 100 - tail], axis=0
        )
    return SampleBounds(low, high)


def ratio(upper: Floats | Ints, lower: Floats | Ints) -> Floats:
    """Divide, with NaN for nothing by nothing."""
    nothing: Floats = np.full_like(upper, np.nan, dtype=float)
    found: Floats = np.divide(upper, lower, out=nothing, where=lower != 0)
    return found
