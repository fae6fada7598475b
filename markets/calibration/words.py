"""Words for what a calibration found, the same on the page and on the terminal."""

from collections.abc import Sequence

from markets.calibration.anchors import FIRST, MOMENTS, RANDOM, Anchor, Exclusion
from markets.calibration.reliability import ReliabilityBin
from markets.calibration.request import MID, MOMENT, PRICES, CalibrationRequest
from markets.calibration.scores import Scores

ANCHOR_WORDS = {
    Anchor.SCHEDULED_CLOSE: "the close as scheduled then",
    Anchor.STRIKE_DATE: "the event's strike date",
    Anchor.OCCURRENCE: "the market's date of occurrence",
    Anchor.FINAL_CLOSE: "the final close",
    Anchor.FIRST_QUOTE: "the first quote",
}
EXCLUSION_WORDS = {
    Exclusion.VALUE_UNKNOWN: "settlement value unknown",
    Exclusion.SCHEDULE_UNKNOWN: "no usable quote: schedule unknown",
    Exclusion.TOO_LATE: "not yet open, or not yet on record, so long before",
    Exclusion.ENDED: "over by then, or the close had been moved",
    Exclusion.NO_QUOTE: "no quote on record then",
    Exclusion.PAUSED: "not trading then",
    Exclusion.ONE_SIDED: "the side that is needed had no quote",
    Exclusion.CROSSED: "the bid was above the ask",
    Exclusion.WIDE: "the spread was above the limit",
    Exclusion.SETTLEMENT_UNDATED: "no date of settlement on record, so in no period",
}
ENDS_EARLY = (
    "Of markets that began together those that ended early are settled, and the others are not yet:"
    " choose a span of settlements whose scheduled closes have all passed, or a lead time."
)
MINUS = "\u2212"


def price_words(request: CalibrationRequest) -> str:
    """Name the price and the instant, as a title does."""
    name = PRICES[request.price]
    limit = f" (spread up to {_cents(float(request.max_spread))})" if request.price == MID else ""
    return f"{name}{limit}, {MOMENTS[request.moment]}"


def caution(request: CalibrationRequest) -> str:
    """Warn of an instant that does not keep markets out which ended early."""
    return ENDS_EARLY if request.moment in (FIRST, RANDOM) else ""


def group_words(by: str, group: str) -> str:
    """Name a group of a breakdown."""
    return MOMENTS[group] if by == MOMENT else group or "none"


def verdict(found: Scores | None, curve: Sequence[ReliabilityBin]) -> str:
    """Say whether the prices were right on average and in each bin, as far as the events tell."""
    return f"{_on_average(found)} {_by_bin(curve)}".rstrip()


def _on_average(found: Scores | None) -> str:
    if found is None:
        return "No settled market has a usable price, so nothing can be said."
    if found.bias_low is None or found.bias_high is None:
        return f"Only {found.events:,} events: too few to say whether the prices were right."
    gap = f"{_cents(abs(found.bias))} on average"
    between = f"95 % interval {_signed(found.bias_low)} to {_signed(found.bias_high)}"
    if found.bias_low <= 0 <= found.bias_high:
        return f"Right on average, as far as {found.events:,} events tell ({between})."
    word = "too low" if found.bias > 0 else "too high"
    return f"The prices were {word} by {gap} ({between}; {found.events:,} events)."


def _by_bin(curve: Sequence[ReliabilityBin]) -> str:
    """Name the bins whose interval leaves out the mean price, among those that were tested."""
    tested, wrong = 0, []
    for each in curve:
        if (off := _off_diagonal(each)) is not None:
            tested += 1
            wrong += [f"{100 * each.low:.0f}–{_cents(each.high)} ({off})"] if off else []
    if not tested:
        return ""
    bins = f"{tested} bin{'s' * (tested > 1)}"
    if not wrong:
        return f"No interval of {bins} leaves out its mean price."
    verb = "leave" if len(wrong) > 1 else "leaves"
    return (
        f"Of the intervals of {bins} {len(wrong)} {verb} out the mean price:"
        f" {', '.join(wrong)}; of right prices one in twenty does."
    )


def _off_diagonal(found: ReliabilityBin) -> str | None:
    """Say on which side of its interval the mean price of a bin lies; blank where within."""
    price, low, high = found.price, found.outcome_low, found.outcome_high
    if price is None or low is None or high is None:
        return None
    return "too high" if price > high else "too low" if price < low else ""


def _cents(dollars: float) -> str:
    return f"{100 * dollars:.1f}".removesuffix(".0") + "¢"


def _signed(dollars: float) -> str:
    return f"{'+' if dollars > 0 else MINUS if dollars < 0 else ''}{_cents(abs(dollars))}"
