"""The request of a calibration: which markets, at which instant, at which price."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from kalshi_insights.bad_input import BadInput
from markets.calibration.anchors import ANCHORS, ANNOUNCED, FIRST, MOMENTS
from markets.calibration.reliability import BINS, MINIMUM

MID, ASK_YES, ASK_NO = "mid", "ask-yes", "ask-no"
PRICES = {
    MID: "midpoint",
    ASK_YES: "ask of YES",
    ASK_NO: "ask of NO",
}
RECORDED, BACKFILLED, IMPORTED = "recorded", "backfilled", "imported"
SOURCES = {
    RECORDED: "recorded live",
    BACKFILLED: "backfilled",
    IMPORTED: "imported",
}
CATEGORY, SERIES, MONTH, MOMENT = "category", "series", "month", "moment"
# The parts that scores may be told of, each by itself.
BREAKDOWNS = {
    CATEGORY: "category",
    SERIES: "series",
    MONTH: "month of settlement",
    MOMENT: "lead time",
}
BIN_NUMBERS = (5, 10, 20)
MAX_SPREAD = Decimal("0.10")
MAX_AGE = 60  # minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRequest:
    """Settled markets, the instant and the price at which each is observed, and the bins.

    A midpoint counts where the spread is at most `max_spread`; a quote counts for `max_age`
    minutes. `start` and `end` bound the settlement. `by` asks for the scores of parts, too.
    """

    moment: str = "24h"
    anchor: str = ANNOUNCED
    source: str = RECORDED
    imports: Sequence[int] = ()
    category: str = ""
    series: str = ""
    start: datetime | None = None
    end: datetime | None = None
    price: str = MID
    max_spread: Decimal = MAX_SPREAD
    max_age: int = MAX_AGE
    bins: int = BINS
    minimum: int = MINIMUM
    by: str = ""

    def check(self) -> None:
        """Raise BadInput for what can be told without looking at the record."""
        for field, value, known in (
            ("moment", self.moment, MOMENTS),
            ("anchor", self.anchor, ANCHORS),
            ("source", self.source, SOURCES),
            ("price", self.price, PRICES),
            ("by", self.by or CATEGORY, BREAKDOWNS),
        ):
            if value not in known:
                raise BadInput(field, f"must be one of {', '.join(known)}")
        if self.source == IMPORTED and not self.imports:
            raise BadInput("source", "name the imports whose quotes count")
        if self.source != IMPORTED and self.imports:
            raise BadInput("imports", f"goes with source {IMPORTED} alone")
        if self.start and self.end and self.end <= self.start:
            raise BadInput("end", "must be later than start")
        self._check_numbers()

    def _check_numbers(self) -> None:
        if not 0 <= self.max_spread <= 1:
            raise BadInput("max_spread", "must lie between 0 and 1 dollar")
        if not 1 <= self.max_age <= 10_080:
            raise BadInput("max_age", "must be a whole number of minutes from 1 to 10080")
        if self.bins not in BIN_NUMBERS:
            raise BadInput("bins", f"must be one of {', '.join(map(str, BIN_NUMBERS))}")
        if not 2 <= self.minimum <= 10_000:
            raise BadInput("minimum", "must be a whole number of events from 2 to 10000")

    @property
    def reading(self) -> tuple[object, ...]:
        """The fields that the observations depend on; the others sort them out afterwards."""
        of_first = self.price if self.moment == FIRST else ""
        return (
            self.moment,
            self.anchor,
            self.source,
            tuple(sorted(self.imports)),
            self.category,
            self.series,
            self.start and self.start.isoformat(),
            self.end and self.end.isoformat(),
            self.max_age,
            of_first,
        )
