"""The figures that a report shows: their labels, formats and explanations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from backtests.data.causes import CAUSES
from backtests.data.universe import CONTRACT, MONEY
from backtests.metrics import dollars

UNKNOWN, MINUS = "–", "\u2212"
Figures = Mapping[str, Any]


class Cell(NamedTuple):
    text: str
    direction: str = ""
    note: str = ""


class Figure(NamedTuple):
    """One figure: its path in the JSON, its format and its explanation.

    `bounds` are the paths of its confidence interval, or of its standard error.
    """

    label: str
    path: str
    format: Callable[[Any], Cell]
    explanation: str
    bounds: Sequence[str] = ()
    in_terminal: bool = False


def cell(row: Figure, figures: Figures) -> Cell:
    value = figure(figures, row.path)
    if value is None:
        return Cell(UNKNOWN, "flat")
    bounds = [figure(figures, path) for path in row.bounds]
    note = _bounds([row.format(each).text for each in bounds if each is not None])
    return row.format(value)._replace(note=note)


def _bounds(bounds: Sequence[str]) -> str:
    if len(bounds) == 2:
        return " to ".join(bounds)
    return f"± {bounds[0].removeprefix('+')}" if bounds else ""


def figure(figures: Figures, path: str) -> Any:
    """The figure at a path; None where it is withheld."""
    value: Any = figures
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def money(value: int) -> Cell:
    return Cell(dollars(value).replace("-", MINUS))


def gain(value: int) -> Cell:
    text = money(value).text
    return Cell(f"+{text}" if value > 0 else text, direction(value))


def direction(value: float) -> str:
    return "flat" if not value else "up" if value > 0 else "down"


def share(value: float) -> Cell:
    return Cell(f"{value:.2%}".replace("-", MINUS))


def rate(value: float) -> Cell:
    return Cell(f"{value:.0%}")


def change(value: float) -> Cell:
    return Cell(("+" if value > 0 else "") + share(value).text, direction(value))


def ratio(value: float) -> Cell:
    return Cell(f"{value:,.2f}".replace("-", MINUS))


def score(value: float) -> Cell:
    return Cell(f"{value:.4f}")


def score_change(value: float) -> Cell:
    text = score(value).text.replace("-", MINUS)
    return Cell(f"+{text}" if value > 0 else text, direction(value))


def gain_each(value: float) -> Cell:
    """A gain for each contract, in hundredths of a cent."""
    sign = "+" if value > 0 else MINUS if value < 0 else ""
    return Cell(f"{sign}${abs(value) / MONEY:,.4f}", direction(value))


def whole(value: int) -> Cell:
    return Cell(f"{value:,}")


def whole_if_any(value: int) -> Cell:
    return whole(value) if value else Cell(UNKNOWN, "flat")


def contracts(value: int) -> Cell:
    return Cell(f"{value / CONTRACT:,.2f}".rstrip("0").rstrip("."))


def days(value: float) -> Cell:
    return Cell(f"{value:,.1f} d" if value >= 1 else f"{value * 24:,.1f} h")


def seconds(value: float) -> Cell:
    if value < 120:
        return Cell(f"{value:,.1f} s")
    return Cell(f"{value / 60:,.1f} min") if value < 7_200 else days(value / 86_400)


FIGURES: Mapping[str, Sequence[Figure]] = {
    "Money": (
        Figure(
            "P&L", "money.pnl", gain,
            "Final equity less starting cash. Open positions count at the price they could be sold"
            " for.",
            in_terminal=True,
        ),
        Figure(
            "Return", "total_return", change, "The P&L as a share of starting cash.",
            in_terminal=True,
        ),
        Figure(
            "From prices", "money.price", gain,
            "Gains from buying and selling, before fees: closed positions, and open ones at their"
            " marks.",
            in_terminal=True,
        ),
        Figure(
            "From settlement", "money.settlement", gain, "Payouts above cost at settlement.",
            in_terminal=True,
        ),
        Figure("Fees", "money.fees", money, "All fees that Kalshi charged.", in_terminal=True),
        Figure(
            "From better prices", "money.better_prices", gain,
            "The part of the P&L from fills at better prices than their orders had asked for.",
            in_terminal=True,
        ),
        Figure(
            "Annual return on locked capital", "capital.annual_return", change,
            "The P&L for each dollar and day that positions locked. Treasury bills paid about 4 %.",
            in_terminal=True,
        ),
    ),
    "Risk": (
        Figure(
            "Deepest drawdown", "drawdown.share", share,
            "The largest fall of equity below its previous peak.",
            in_terminal=True,
        ),
        Figure(
            "Drawdown duration", "drawdown.days", days,
            "Until equity was back at its peak, or until the end.",
        ),
        Figure(
            "Annual Sharpe ratio", "ratios.sharpe", ratio,
            "Mean daily return above Treasury bills, over its standard deviation. Below it stands"
            " the 95 % confidence interval.",
            ("ratios.sharpe_low", "ratios.sharpe_high"),
            in_terminal=True,
        ),
        Figure(
            "Annual Sortino ratio", "ratios.sortino", ratio,
            "The Sharpe ratio, counting downside deviation only.",
        ),
        Figure(
            "Annual volatility", "ratios.volatility", share,
            "The standard deviation of daily returns, for a year.",
        ),
        Figure(
            "Probabilistic Sharpe ratio", "ratios.probabilistic_sharpe", share,
            "The probability that the true Sharpe ratio is above zero, if nothing else was tried.",
            in_terminal=True,
        ),
        Figure(
            "Least track record", "ratios.least_track_record", days,
            "After so many days of such returns that would be 95 %.",
        ),
    ),
    "Overfitting": (
        Figure(
            "Trials", "deflation.trials", whole,
            "Runs of this strategy so far, and points of searches, with any parameters or markets.",
            in_terminal=True,
        ),
        Figure(
            "Best by luck", "deflation.expected_maximum_sharpe", ratio,
            "The annual Sharpe ratio to expect of the best of so many trials without any skill.",
            in_terminal=True,
        ),
        Figure(
            "Deflated Sharpe ratio", "deflation.deflated_sharpe", share,
            "The probability that the true Sharpe ratio is above the best by luck.",
            in_terminal=True,
        ),
        Figure(
            "Least track record beyond luck", "deflation.least_track_record", days,
            "After so many days of such returns that would be 95 %.",
        ),
    ),
    "Significance": (
        Figure(
            "p-value of the moments", "significance.p_value", score,
            "How often moments of the same events, taken at random, gain as much.",
            in_terminal=True,
        ),
        Figure(
            "Gained by the moments", "significance.effect", gain_each,
            "For each contract, beyond what moments taken at random gain on average.",
            in_terminal=True,
        ),
        Figure(
            "In standard deviations", "significance.deviations", ratio,
            "The same, in standard deviations of the gains at random moments.",
        ),
    ),
    "Events": (
        Figure(
            "Independent events", "events.traded", whole,
            "Events that were traded. Markets of one event share one outcome, so they count once.",
            in_terminal=True,
        ),
        Figure(
            "Win rate", "events.win_rate", rate,
            "The share of events with a profit after fees. Below it stands the 95 % confidence"
            " interval.",
            ("events.win_rate_low", "events.win_rate_high"),
            in_terminal=True,
        ),
        Figure(
            "Mean P&L of an event", "events.mean_pnl", gain,
            "Below it stands its standard error.",
            ("events.mean_pnl_error",),
        ),
    ),
    "Stated probabilities": (
        Figure(
            "Markets", "probabilities.markets", whole_if_any,
            "Settled markets of which a probability was stated. The first one of each is scored.",
            in_terminal=True,
        ),
        Figure(
            "Brier score", "probabilities.brier", score,
            "The squared error of the probabilities: 0 is perfect, 0.25 is a coin toss.",
            in_terminal=True,
        ),
        Figure(
            "Brier score of the midpoint", "probabilities.midpoint_brier", score,
            "That of the market's own midpoint at the same instants.",
            in_terminal=True,
        ),
        Figure(
            "Better than the midpoint by", "probabilities.advantage", score_change,
            "The difference of the two. Below it stands its standard error.",
            ("probabilities.advantage_error",),
        ),
        Figure(
            "Log loss", "probabilities.log_loss", score,
            "The negative logarithm of the probability of what happened: 0.69 is a coin toss.",
            in_terminal=True,
        ),
        Figure(
            "Log loss of the midpoint", "probabilities.midpoint_log_loss", score,
            "That of the market's own midpoint at the same instants.",
        ),
        Figure(
            "Certain and wrong", "probabilities.certain_misses", whole_if_any,
            "Stated as 0 or 1, and it came otherwise. The log loss is infinite then.",
        ),
        Figure(
            "Stated edge", "probabilities.stated_edge", gain,
            "The gain after fees of the fills in settled markets, if their orders' probabilities"
            " were right.",
            in_terminal=True,
        ),
        Figure(
            "Edge at settlement", "probabilities.settled_edge", gain,
            "The gain after fees of the same fills, each held to settlement.",
            in_terminal=True,
        ),
    ),
    "Activity": (
        Figure(
            "Orders", "activity.orders", whole, "Orders sent to the exchange.", in_terminal=True
        ),
        Figure(
            "Fills", "activity.fills", whole, "Executions; an order may need several.",
            in_terminal=True,
        ),
        Figure(
            "Refused", "activity.refusals", whole,
            "Orders refused by a rule of the exchange, by a limit, or for lack of cash.",
            in_terminal=True,
        ),
        Figure("Cancelled", "activity.cancellations", whole, "Orders that were not wholly filled."),
        Figure("Settled", "activity.settlements", whole, "Positions held to settlement."),
        Figure("Contracts", "activity.contracts", contracts, "Contracts bought and sold."),
        Figure(
            "Turnover", "activity.turnover", ratio, "The value traded, over mean equity.",
            in_terminal=True,
        ),
        Figure("Time exposed", "capital.time_exposed", share, "The share of time with a position."),
        Figure(
            "Capital locked", "capital.share_locked", share,
            "The mean share of capital that positions locked.",
            in_terminal=True,
        ),
        Figure(
            "Open at the end", "activity.open_positions", whole,
            "Positions that were neither sold nor settled.",
        ),
    ),
    "Waits": (
        Figure(
            "Median wait", "waits.median", seconds,
            "From the arrival of an order to the observation that it met.",
            in_terminal=True,
        ),
        Figure(
            "95 % of waits", "waits.percentile_95", seconds, "Nineteen of twenty were no longer.",
            in_terminal=True,
        ),
        Figure("Longest wait", "waits.longest", seconds, "The longest of all.", in_terminal=True),
        Figure(
            "Never met", "waits.never_met", whole,
            "Orders that ended before an observation of their market.",
            in_terminal=True,
        ),
        Figure(
            "Unfinished", "waits.unfinished", whole,
            "Orders that were still on their way when the run ended.",
        ),
        Figure(
            "Between observations", "waits.between_observations", seconds,
            "The median time between two observations of a traded market. What happened within it"
            " is not on record.",
            in_terminal=True,
        ),
    ),
    "Coverage": (
        Figure(
            "Observed", "coverage.observed_share", share,
            "The share of the time in which the traded markets could be traded.",
            in_terminal=True,
        ),
        *(
            Figure(
                f"Gaps: {cause}", f"coverage.gaps.{cause}.seconds", seconds,
                "Time without an observation, of all traded markets together.",
                in_terminal=True,
            )
            for cause in CAUSES
        ),
        Figure(
            "Fills across gaps", "coverage.fills_across_gaps", whole,
            "Fills of orders that were sent before a gap and filled after it.",
            in_terminal=True,
        ),
        Figure(
            "Gained across gaps", "coverage.pnl_across_gaps", gain,
            "What these fills gained up to the end, after their fees.",
            in_terminal=True,
        ),
        Figure(
            "Thin hours", "coverage.thin_hours", whole,
            "Hours with less than 90 % of their tradable time observed.",
            in_terminal=True,
        ),
        Figure(
            "Gained in thin hours", "coverage.pnl_of_thin_hours", gain,
            "The part of the P&L that came in these hours.",
            in_terminal=True,
        ),
    ),
}  # fmt: skip
