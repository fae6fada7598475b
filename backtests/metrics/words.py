"""The verdict: the result of a run in a sentence that can be checked against the figures."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from backtests.metrics.coverage import LEAST_OBSERVED
from backtests.metrics.figures import Figures, pluralise
from markets.fees import CENT

# A part of the P&L is told apart if it is as large as this share of the whole.
SHARE_THAT_MATTERS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """The assumptions behind a result: the contracts assumed for unknown sizes and before resting
    orders, the times at which results were known, fee terms; `unfilled` is the share of the quoted
    prices that filled nothing, since their size is unknown and none was assumed."""

    unfilled: float = 0.0
    size: int | None = None
    queue: int | None = None
    times: bool = False
    fees: bool = False

    def sentences(self) -> list[str]:
        sentences = []
        if self.unfilled:
            sentences.append(
                f"{_share(self.unfilled)} of the quoted prices have no known size, so they filled"
                " nothing: an assumed size would say how many contracts they have."
            )
        if self.size is not None:
            sentences.append(f"Unknown sizes were assumed: {pluralise(self.size, 'contract')}.")
        if self.queue is not None:
            sentences.append(f"Unknown queues were assumed: {pluralise(self.queue, 'contract')}.")
        if self.times:
            sentences.append("The time at which some results were known was assumed.")
        if self.fees:
            sentences.append("Some fee terms were assumed.")
        return sentences


def verdict(
    figures: Figures,
    *,
    low: int | None = None,
    high: int | None = None,
    yardsticks: Mapping[str, int] | None = None,
    assumptions: Assumptions | None = None,
) -> str:
    """State the result in a sentence, then the assumptions behind it.

    `low` and `high` are the least and the greatest P&L of the fill scenarios, `yardsticks` the P&L
    of other strategies on the same markets and times, by name.
    """
    sentences = [_result(figures, low=low, high=high, yardsticks=yardsticks or {})]
    if figures.activity.open_positions:
        sentences.append(_open(figures))
    sentences += _coverage(figures)
    return " ".join([*sentences, *(assumptions or Assumptions()).sentences()])


def dollars(money: int) -> str:
    """Format millionths of a dollar as dollars and cents; half a cent rounds to the even cent."""
    cents, rest = divmod(abs(money), CENT)
    cents += rest * 2 > CENT or (rest * 2 == CENT and cents % 2)
    sign = "-" if money < 0 and cents else ""
    return f"{sign}${cents // 100:,}.{cents % 100:02}"


def _result(
    figures: Figures, *, low: int | None, high: int | None, yardsticks: Mapping[str, int]
) -> str:
    others = [f"{name} earned {dollars(pnl)}" for name, pnl in yardsticks.items()]
    if not figures.activity.fills:
        return "; ".join([_idle(figures), *others]) + "."
    money = figures.money
    gained = f"{'Lost' if money.pnl < 0 else 'Earned'} {dollars(abs(money.pnl))}"
    parts = [
        f"{gained} on {dollars(money.start_cash)} over {_span(figures.days)} "
        f"after {dollars(money.fees)} fees"
    ]
    if low is not None and high is not None:
        parts += _band(money.pnl, low=low, high=high)
    return "; ".join([*parts, *others, _certainty(figures)]) + "."


def _idle(figures: Figures) -> str:
    span, orders = _span(figures.days), figures.activity.orders
    if not orders:
        return f"Made no trades in {span}: no orders sent"
    refused = figures.activity.refusals
    return (
        f"Made no trades in {span}: {pluralise(orders, 'order')}, {refused:,} refused, none filled"
    )


def _band(pnl: int, *, low: int, high: int) -> list[str]:
    if low == high:
        return ["the same in every fill scenario"]
    band = f"between {dollars(low)} and {dollars(high)} depending on fills"
    if pnl > 0 and low <= 0:
        return [band, "not robust, since the least of the three makes no profit"]
    return [band]


def _certainty(figures: Figures) -> str:
    ratios = figures.ratios
    if ratios.withheld:
        reason = ratios.withheld
        events = pluralise(figures.events.traded, "independent event")
        return reason if reason.startswith(events) else f"{events}; {reason}"
    return (
        f"{pluralise(figures.events.traded, 'independent event')}; "
        f"Sharpe ratio {ratios.sharpe:.2f}, "
        f"with 95 % confidence between {ratios.sharpe_low:.2f} and {ratios.sharpe_high:.2f}"
    )


def _open(figures: Figures) -> str:
    count = figures.activity.open_positions
    were = "was" if count == 1 else "were"
    worth = figures.money.final_equity - figures.money.final_cash
    return f"{pluralise(count, 'position')} {were} open at the end, marked at {dollars(worth)}."


def _coverage(figures: Figures) -> Iterator[str]:
    """State what was not observed, where it may have decided the result."""
    coverage, pnl = figures.coverage, figures.money.pnl
    if coverage.observed_share is not None and coverage.observed_share < LEAST_OBSERVED:
        yield f"The traded markets were observed for {coverage.observed_share:.0%} of the time."
    if coverage.fills_across_gaps:
        fills = pluralise(figures.activity.fills, "fill")
        yield (
            f"{coverage.fills_across_gaps:,} of {fills} came from orders that were sent before a"
            f" gap and filled after it, and earned {dollars(coverage.pnl_across_gaps)}."
        )
    thin = coverage.pnl_of_thin_hours
    if thin and abs(thin) >= SHARE_THAT_MATTERS * abs(pnl):
        yield f"Hours observed for less than {LEAST_OBSERVED:.0%} earned {dollars(thin)}."


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.005 else "Less than 1%"


def _span(days: float) -> str:
    if days >= 2:
        return pluralise(round(days), "day")
    return pluralise(round(days * 24), "hour")
