"""The scores of parts of the markets: by category, series, month of settlement or lead time."""

from dataclasses import dataclass, replace

from kalshi_insights.arrays import Ints, np
from markets.calibration.anchors import LEAD_TIMES, MISSING
from markets.calibration.observations import Observations
from markets.calibration.reading import UsedMarkets, read_markets, usable
from markets.calibration.request import CATEGORY, MOMENT, MONTH, CalibrationRequest
from markets.calibration.scores import GroupedPrices, GroupScores, group_scores
from markets.models import Series

MOST_GROUPS = 50
UNDATED = "undated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """The groups with the most markets first, months newest first, lead times longest first.

    `left_out` is the number of groups beyond the first `MOST_GROUPS`.
    """

    by: str
    groups: list[GroupScores]
    left_out: int


def break_down(request: CalibrationRequest, used: UsedMarkets, *, anew: bool = False) -> Breakdown:
    """Return the scores of the parts that a request asks for.

    Lead times are read each by itself, so they take as long as that many requests.
    """
    if request.by == MOMENT:
        groups = [_of_moment(replace(request, moment=each), anew) for each in LEAD_TIMES]
        return Breakdown(by=request.by, groups=groups, left_out=0)
    names, places = _grouped(request.by, used.observed)
    order = _order(request.by, names, places)
    rank = np.full(len(names), MISSING)
    rank[order[:MOST_GROUPS]] = np.arange(min(len(order), MOST_GROUPS))
    is_shown = rank[places] != MISSING
    shown = used.sliced(np.flatnonzero(is_shown))
    groups = group_scores(
        _with_places(shown, rank[places][is_shown]),
        [names[each] for each in order[:MOST_GROUPS]],
        minimum=request.minimum,
    )
    return Breakdown(by=request.by, groups=groups, left_out=max(len(names) - MOST_GROUPS, 0))


def _of_moment(request: CalibrationRequest, anew: bool) -> GroupScores:
    _, used = usable(request, read_markets(request, anew=anew).observed)
    alone = _with_places(used, np.zeros(len(used.prices), np.int64))
    (found,) = group_scores(alone, [request.moment], minimum=request.minimum)
    return found


def _with_places(used: UsedMarkets, places: Ints) -> GroupedPrices:
    return GroupedPrices(used.prices, used.outcomes, used.observed.event, places)


def _grouped(by: str, observed: Observations) -> tuple[list[str], Ints]:
    """Return the groups by name, and the place of each market's own among them."""
    if by == MONTH:
        months = observed.settled.astype("datetime64[us]").astype("datetime64[M]")
        found, places = np.unique(months, return_inverse=True)
        return [UNDATED if each.year < 1970 else f"{each:%Y-%m}" for each in found.tolist()], places
    ids, of_market = np.unique(observed.series, return_inverse=True)
    name = "category" if by == CATEGORY else "ticker"
    named = dict(Series.objects.filter(pk__in=ids.tolist()).values_list("pk", name))
    names, of_series = np.unique([named[id] for id in ids.tolist()], return_inverse=True)
    return names.tolist(), of_series.astype(np.int64)[of_market]


def _order(by: str, names: list[str], places: Ints) -> list[int]:
    """Return the places of the groups in the order in which they are told."""
    if by == MONTH:
        # Months are in their order already, and what has no date comes last as it came first.
        return list(range(len(names)))[::-1]
    counts = np.bincount(places, minlength=len(names)).tolist()
    return sorted(range(len(names)), key=lambda each: (-counts[each], names[each]))
