"""What came of a run, in a sentence a person can check against the figures."""

from collections.abc import Mapping
from dataclasses import dataclass

from backtests.data.universe import MONEY
from backtests.metrics.figures import Figures, counted

CENT = MONEY // 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """What a result rests on that no record tells: the contracts taken for unknown sizes, the
    instants at which some results were known, some fee terms."""

    size: int | None = None
    times: bool = False
    fees: bool = False

    def sentences(self) -> list[str]:
        told = []
        if self.size is not None:
            told.append(f"Sizes were assumed: {counted(self.size, 'contract')}.")
        if self.times:
            told.append("When some results were known was assumed.")
        if self.fees:
            told.append("Some fee terms were assumed.")
        return told


def robust(low: int | None) -> bool:
    """Whether a run gains also where resting orders fill as badly as they may."""
    return low is not None and low > 0


def verdict(
    figures: Figures,
    *,
    low: int | None = None,
    high: int | None = None,
    yardsticks: Mapping[str, int] | None = None,
    assumed: Assumed | None = None,
) -> str:
    """The result in a sentence, then what it rests on.

    `low` and `high` are the P&L of the worst and the best model of resting orders, `yardsticks`
    that of other strategies on the same markets and times, by their names.
    """
    sentences = [_result(figures, low=low, high=high, yardsticks=yardsticks or {})]
    if figures.activity.open_positions:
        sentences.append(_open(figures))
    return " ".join([*sentences, *(assumed or Assumed()).sentences()])


def dollars(money: int) -> str:
    """Millionths of a dollar in dollars and cents, half a cent rounded to the even one."""
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
        return f"Made no trades in {span}: it sent no order"
    refused = figures.activity.refusals
    return f"Made no trades in {span}: {counted(orders, 'order')}, {refused:,} refused, none filled"


def _band(pnl: int, *, low: int, high: int) -> list[str]:
    if low == high:
        return ["the same however resting orders fill"]
    band = f"between {dollars(low)} and {dollars(high)} depending on fills"
    if pnl > 0 and not robust(low):
        return [band, "not robust, since the low end does not gain"]
    return [band]


def _certainty(figures: Figures) -> str:
    ratios = figures.ratios
    if ratios.withheld:
        told = ratios.withheld
        events = counted(figures.events.traded, "independent event")
        return told if told.startswith(events) else f"{events}; {told}"
    return (
        f"{counted(figures.events.traded, 'independent event')}; "
        f"Sharpe ratio {ratios.sharpe:.2f}, "
        f"with 95 % confidence between {ratios.sharpe_low:.2f} and {ratios.sharpe_high:.2f}"
    )


def _open(figures: Figures) -> str:
    count = figures.activity.open_positions
    were = "was" if count == 1 else "were"
    worth = figures.money.final_equity - figures.money.final_cash
    return f"{counted(count, 'position')} {were} open at the end, marked at {dollars(worth)}."


def _span(days: float) -> str:
    if days >= 2:
        return counted(round(days), "day")
    return counted(round(days * 24), "hour")
