"""The figures of a run as people read them: in words, beside the band and the yardsticks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from backtests.data.universe import CONTRACT
from backtests.metrics import dollars
from backtests.models import BacktestResult
from backtests.strategies import STRATEGIES, YARDSTICKS

UNKNOWN, MINUS = "–", "\u2212"
Figures = Mapping[str, Any]


class Cell(NamedTuple):
    text: str
    direction: str = ""
    note: str = ""


class Figure(NamedTuple):
    """One figure: where it stands in the JSON, how it is written, and what it says."""

    label: str
    path: str
    written: Callable[[Any], Cell]
    explanation: str
    sure: Sequence[str] = ()  # where its bounds stand, or its standard error


class Line(NamedTuple):
    label: str
    explanation: str
    cells: Sequence[Cell]


class Group(NamedTuple):
    title: str
    lines: Sequence[Line]


class Beside(NamedTuple):
    """A strategy's P&L on a common scale from 0 to 100, with its band where it has one."""

    name: str
    pnl: Cell
    at: str
    low: str
    high: str
    band: str
    zero: str


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


def whole(value: int) -> Cell:
    return Cell(f"{value:,}")


def contracts(value: int) -> Cell:
    return Cell(f"{value / CONTRACT:,.2f}".rstrip("0").rstrip("."))


def days(value: float) -> Cell:
    return Cell(f"{value:,.1f} d" if value >= 1 else f"{value * 24:,.1f} h")


# An `Execution`, by the names of its fields.
MODEL = {
    "latency_snapshots": "Books before an order meets one",
    "latency_seconds": "Seconds before an order meets one",
    "patience_seconds": "Patience, seconds",
    "assumed_size": "Assumed size, contracts",
    "position_limit": "Position limit, contracts",
    "make": "Waits for others to come",
    "through_broker": "Through a broker",
}
FIGURES: Mapping[str, Sequence[Figure]] = {
    "Money": (
        Figure(
            "P&L", "money.pnl", gain,
            "What it ended with above what it began with. Open positions count at what they could"
            " be sold for.",
        ),
        Figure("Return", "total_return", change, "The P&L as a share of the cash it began with."),
        Figure(
            "From prices", "money.price", gain,
            "Earned by buying and selling, before fees: closed positions, and open ones at their"
            " marks.",
        ),
        Figure("From settlement", "money.settlement", gain, "Paid above cost at settlement."),
        Figure("Fees", "money.fees", money, "All that Kalshi charged."),
        Figure(
            "On locked capital, a year", "capital.annual_return", change,
            "The P&L for each dollar and day that positions locked. Bills paid about 4 %.",
        ),
    ),
    "Risk": (
        Figure(
            "Deepest drawdown", "drawdown.share", share,
            "The largest fall of equity below the highest it had been.",
        ),
        Figure("It lasted", "drawdown.days", days, "Until equity was back, or until the end."),
        Figure(
            "Sharpe ratio, a year", "ratios.sharpe", ratio,
            "Mean daily return above bills, over its deviation; below it, its bounds with 95 %"
            " confidence.",
            ("ratios.sharpe_low", "ratios.sharpe_high"),
        ),
        Figure(
            "Sortino ratio, a year", "ratios.sortino", ratio, "As above, counting falls alone.",
        ),
        Figure("Volatility, a year", "ratios.volatility", share, "Of daily returns."),
        Figure(
            "Skill, not luck", "ratios.probabilistic_sharpe", share,
            "The probability that the true Sharpe ratio is above zero.",
        ),
    ),
    "Events": (
        Figure(
            "Independent events", "events.traded", whole,
            "Markets of one event share one outcome, so they count once.",
        ),
        Figure(
            "Won", "events.win_rate", rate,
            "The share of events that gained, after fees; below it, its bounds with 95 %"
            " confidence.",
            ("events.win_rate_low", "events.win_rate_high"),
        ),
        Figure(
            "An event earned", "events.mean_pnl", gain,
            "The mean P&L of an event; below it, its standard error.",
            ("events.mean_pnl_error",),
        ),
        Figure(
            "Brier score", "brier.score", score,
            "How far stated chances were from outcomes: 0 is perfect, 0.25 a coin's.",
        ),
    ),
    "Activity": (
        Figure("Orders", "activity.orders", whole, "Sent to the exchange."),
        Figure("Fills", "activity.fills", whole, "Trades; an order may need several."),
        Figure("Refused", "activity.refusals", whole, "By a rule, or for lack of cash."),
        Figure("Cancelled", "activity.cancellations", whole, "Orders that were not filled whole."),
        Figure("Settled", "activity.settlements", whole, "Positions held until the result."),
        Figure("Contracts", "activity.contracts", contracts, "Bought and sold in all."),
        Figure("Turnover", "activity.turnover", ratio, "What was traded, over mean equity."),
        Figure("Time exposed", "capital.time_exposed", share, "The share of time with a position."),
        Figure("Capital locked", "capital.share_locked", share, "Its mean share of all capital."),
        Figure("Open at the end", "activity.open_positions", whole, "Not settled, not sold."),
    ),
}  # fmt: skip


def heads(result: BacktestResult) -> list[str]:
    return ["This run", *(f"{name} fills" for name in _edges(result)), *_yardsticks(result)]


def groups(result: BacktestResult) -> Iterator[Group]:
    columns = [
        result.figures,
        *(result.band[name] for name in _edges(result)),
        *_yardsticks(result).values(),
    ]
    for title, figures in FIGURES.items():
        lines = [Line(f.label, f.explanation, [cell(f, of) for of in columns]) for f in figures]
        yield Group(title, [line for line in lines if any(c.text != UNKNOWN for c in line.cells)])


def _edges(result: BacktestResult) -> list[str]:
    """The models of resting orders that are shown: none where all come to the same."""
    found = {name: at(figures, "money.pnl") for name, figures in result.band.items()}
    edges = [name for name in ("pessimistic", "optimistic") if name in found]
    return edges if len(set(found.values())) > 1 else []


def _yardsticks(result: BacktestResult) -> Mapping[str, Figures]:
    """In our order: JSON has none."""
    return {name: result.yardsticks[name] for name in YARDSTICKS if name in result.yardsticks}


def cell(figure: Figure, figures: Figures) -> Cell:
    value = at(figures, figure.path)
    if value is None:
        return Cell(UNKNOWN, "flat")
    sure = [at(figures, path) for path in figure.sure]
    note = sureness([figure.written(each).text for each in sure if each is not None])
    return figure.written(value)._replace(note=note)


def sureness(bounds: Sequence[str]) -> str:
    if len(bounds) == 2:
        return " to ".join(bounds)
    return f"± {bounds[0].removeprefix('+')}" if bounds else ""


def at(figures: Figures, path: str) -> Any:
    """A figure by its path; None where it is withheld."""
    found: Any = figures
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def compared(result: BacktestResult) -> list[Beside]:
    """The run and the yardsticks, P&L under P&L."""
    pnls = {name: at(figures, "money.pnl") for name, figures in _yardsticks(result).items()}
    band = [at(figures, "money.pnl") for figures in result.band.values()]
    own = at(result.figures, "money.pnl")
    known = [value for value in (own, *pnls.values(), *band) if value is not None]
    place = _scale([0, *known])
    low, high = (min(band), max(band)) if band else (own, own)
    spread = f"{gain(low).text} to {gain(high).text}" if low != high else ""
    told = [Beside("This run", gain(own), place(own), place(low), place(high), spread, place(0))]
    for name, pnl in pnls.items():
        told.append(Beside(name, gain(pnl), place(pnl), "", "", "", place(0)))
    return told


def model(result: BacktestResult) -> list[tuple[str, Any]]:
    return [(MODEL[name], result.execution.get(name)) for name in MODEL]


def params(result: BacktestResult) -> list[tuple[str, Any]]:
    """In the order of the strategy's schema, as far as it still has them."""
    kind = STRATEGIES.get(result.strategy)
    order = [name for name in (kind.schema if kind else ()) if name in result.params]
    return [(name, result.params[name]) for name in dict.fromkeys([*order, *result.params])]


def _scale(values: Sequence[int]) -> Callable[[int], str]:
    """Places on a track from 2 to 98, so that no mark is cut off."""
    low, width = min(values), max(values) - min(values)
    return lambda value: f"{2 + 96 * (value - low) / width:.2f}" if width else "50.00"
