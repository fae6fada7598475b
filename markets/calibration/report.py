"""The calibration of the markets that a request names: curve, scores, returns, and what is left
out of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from kalshi_insights.arrays import Bools, Ints, np
from kalshi_insights.bad_input import BadInput
from markets.calibration.anchors import Anchor, Exclusion
from markets.calibration.breakdown import Breakdown, break_down
from markets.calibration.charges import prices_paid
from markets.calibration.observations import DOLLAR, Observations
from markets.calibration.reading import ReadMarkets, UsedMarkets, read_markets, usable
from markets.calibration.reliability import ReliabilityBin, bins_of, reliability
from markets.calibration.request import ASK_NO, ASK_YES, CalibrationRequest
from markets.calibration.returns import Purchases, ReturnBin, returns
from markets.calibration.scores import Scores, scores
from markets.calibration.trail import ScoreTrail, score_trail


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationCoverage:
    """The number of settled markets, of those with a usable price, and of the others by the reason
    why they have none. `anchors` counts the usable ones by the date that their instant was counted
    from.
    """

    eligible: int
    used: int
    events: int
    left_out: Mapping[Exclusion, int] = field(default_factory=dict)
    anchors: Mapping[Anchor, int] = field(default_factory=dict)

    @property
    def share(self) -> float | None:
        return self.used / self.eligible if self.eligible else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """All figures of a request, and the markets that they are of.

    Returns are of the markets whose side was offered, whatever price the other figures are of;
    `fees_unknown` counts those of them whose fees nobody knows.
    """

    request: CalibrationRequest
    read_at: datetime
    used: UsedMarkets = field(compare=False, repr=False)
    coverage: CalibrationCoverage
    curve: list[ReliabilityBin]
    scores: Scores | None
    returns_yes: list[ReturnBin]
    returns_no: list[ReturnBin]
    fees_unknown: int
    trail: ScoreTrail
    breakdown: Breakdown | None


def calibrate(request: CalibrationRequest, *, anew: bool = False) -> Calibration:
    """Compute the figures of a request, of what was read lately unless `anew`; raises BadInput."""
    read = read_markets(request, anew=anew)
    reasons, used = usable(request, read.observed)
    prices, outcomes, events = used.prices, used.outcomes, used.observed.event
    sizes = {"bins": request.bins, "minimum": request.minimum}
    offered_yes, offered_no = _offered(request, read, ASK_YES), _offered(request, read, ASK_NO)
    unknown = (offered_yes & np.isnan(read.fee_yes)) | (offered_no & np.isnan(read.fee_no))
    return Calibration(
        request=request,
        read_at=read.read_at,
        used=used,
        coverage=_coverage(reasons, used.observed),
        curve=reliability(prices, outcomes, events, **sizes),
        scores=scores(prices, outcomes, events, **sizes),
        returns_yes=_returns(request, read, offered_yes, no=False),
        returns_no=_returns(request, read, offered_no, no=True),
        fees_unknown=int(unknown.sum()),
        trail=score_trail(used.observed.settled, (prices - outcomes) ** 2),
        breakdown=break_down(request, used, anew=anew) if request.by else None,
    )


def within_bin(request: CalibrationRequest, used: UsedMarkets, number: int | None) -> UsedMarkets:
    """Return those with a price in a bin, or all where it is None; raises BadInput."""
    if number is None:
        return used
    if not 0 <= number < request.bins:
        raise BadInput("bin", f"must be a whole number from 0 to {request.bins - 1}")
    return used.sliced(np.flatnonzero(bins_of(used.prices, request.bins) == number))


def _offered(request: CalibrationRequest, read: ReadMarkets, ask: str) -> Bools:
    """Return the markets in which a side could be bought, whatever is said of the other side."""
    offered: Bools = read.observed.reasons(ask, float(request.max_spread)) == Exclusion.NONE
    return offered


def _returns(
    request: CalibrationRequest, read: ReadMarkets, offered: Bools, *, no: bool
) -> list[ReturnBin]:
    """Return what buying a side at its ask returned, wherever it was offered."""
    paid, fee = prices_paid(read.observed, no=no), read.fee_no if no else read.fee_yes
    bought = offered & np.isfinite(fee)
    value = read.observed.outcomes(ASK_NO if no else ASK_YES)
    purchases = Purchases(
        paid[bought] / DOLLAR, fee[bought], value[bought], read.observed.event[bought]
    )
    return returns(purchases, bins=request.bins, minimum=request.minimum)


def _coverage(reasons: Ints, used: Observations) -> CalibrationCoverage:
    return CalibrationCoverage(
        eligible=len(reasons),
        used=len(used),
        events=len(np.unique(used.event)),
        left_out={
            reason: count
            for reason in Exclusion
            if reason != Exclusion.NONE and (count := int((reasons == reason).sum()))
        },
        anchors={
            anchor: count for anchor in Anchor if (count := int((used.anchor == anchor).sum()))
        },
    )
