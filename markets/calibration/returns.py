"""Returns of buying at the ask, by the price paid: the favourite-longshot curve."""

from dataclasses import dataclass
from typing import NamedTuple

from kalshi_insights.arrays import Floats, Ints
from markets.calibration.reliability import BINS, MINIMUM, bin_edges, bins_of, require_unit, shown
from markets.calibration.resampling import EventResamples, bounds, ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnBin:
    """Purchases at a price from `low` on and before `high`.

    `net` is what they gained on each dollar spent, fees included; `fee` is the mean fee of a
    contract. None where too few events are in the bin.
    """

    low: float
    high: float
    count: int
    events: int
    price: float | None
    fee: float | None
    net: float | None
    net_low: float | None
    net_high: float | None


class Purchases(NamedTuple):
    """One contract of each market: its price, its fee, its worth in the end, and its event."""

    prices: Floats
    fees: Floats
    values: Floats
    events: Ints


def returns(bought: Purchases, *, bins: int = BINS, minimum: int = MINIMUM) -> list[ReturnBin]:
    """Return what purchases gained by their price, the same number of contracts of each market.

    Raises ValueError for prices or values outside of 0 to 1.
    """
    prices, fees, values, events = bought
    require_unit(prices=prices, values=values)
    drawn = EventResamples(events, bins_of(prices, bins), bins)
    counts, in_bin = drawn.totals(), drawn.events()
    gain, spent = values - prices - fees, prices + fees
    net = ratio(drawn.totals(gain), drawn.totals(spent))
    found = bounds(ratio(drawn.samples(gain), drawn.samples(spent)))
    price, fee = (ratio(drawn.totals(each), counts) for each in (prices, fees))
    edges = bin_edges(bins)
    return [
        ReturnBin(
            low=float(edges[n]),
            high=float(edges[n + 1]),
            count=int(counts[n]),
            events=int(in_bin[n]),
            price=shown(price[n], in_bin[n] >= minimum),
            fee=shown(fee[n], in_bin[n] >= minimum),
            net=shown(net[n], in_bin[n] >= minimum),
            net_low=shown(found.low[n], in_bin[n] >= minimum),
            net_high=shown(found.high[n], in_bin[n] >= minimum),
        )
        for n in range(bins)
    ]
