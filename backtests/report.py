"""The report of a run: one table of figures for the page and the terminal, beside band and
yardsticks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any, NamedTuple

from backtests.data.universe import CONTRACT
from backtests.metrics import dollars
from backtests.models import BacktestResult, Engine
from backtests.strategies import STRATEGIES, YARDSTICKS

UNKNOWN, MINUS = "–", "\u2212"
TERMINAL_WIDTH = 88
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


class FigureRow(NamedTuple):
    label: str
    explanation: str
    cells: Sequence[Cell]


class FigureGroup(NamedTuple):
    title: str
    rows: Sequence[FigureRow]


class ComparisonRow(NamedTuple):
    """A strategy's P&L on a common track from 0 to 100, with its band where it has one."""

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


# The labels of an `ExecutionModel`, by the names of its fields.
EXECUTION_LABELS = {
    "latency_snapshots": "Latency, books",
    "latency_seconds": "Latency, seconds",
    "patience_seconds": "Order expiry, seconds",
    "assumed_size": "Assumed size, contracts",
    "position_limit": "Position limit, contracts",
    "make": "Rest at the best price",
    "through_broker": "Through a broker",
}
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
            "The probability that the true Sharpe ratio is above zero.",
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
        Figure(
            "Brier score", "brier.score", score,
            "The squared error of stated probabilities: 0 is perfect, 0.25 is a coin toss.",
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
}  # fmt: skip


# --- the page ------------------------------------------------------------------------------------


def column_heads(result: BacktestResult) -> list[str]:
    return ["This run", *_band_heads(result), *_yardsticks(result)]


def figure_groups(result: BacktestResult) -> Iterator[FigureGroup]:
    columns = _columns(result)
    for title, figures in FIGURES.items():
        rows = [
            FigureRow(f.label, f.explanation, [cell(f, column) for column in columns])
            for f in figures
        ]
        known = [row for row in rows if any(each.text != UNKNOWN for each in row.cells)]
        yield FigureGroup(title, known)


def comparison(result: BacktestResult) -> list[ComparisonRow]:
    """The P&L of the run and of the yardsticks on one track."""
    pnls = {name: figure(figures, "money.pnl") for name, figures in _yardsticks(result).items()}
    scenarios = _scenario_pnls(result)
    band = list(scenarios.values())
    own = figure(result.figures, "money.pnl")
    known = [value for value in (own, *pnls.values(), *band) if value is not None]
    track = _track([0, *known])
    low, high = (min(band), max(band)) if band else (own, own)
    words = " · ".join(f"{name} {gain(pnl).text}" for name, pnl in scenarios.items())
    words = words if low != high else ""
    rows = [
        ComparisonRow("This run", gain(own), track(own), track(low), track(high), words, track(0))
    ]
    for name, pnl in pnls.items():
        rows.append(ComparisonRow(name, gain(pnl), track(pnl), "", "", "", track(0)))
    return rows


def execution_model(result: BacktestResult) -> list[tuple[str, Any]]:
    return [(label, result.execution.get(name)) for name, label in EXECUTION_LABELS.items()]


def params(result: BacktestResult) -> list[tuple[str, Any]]:
    """The parameters in the order of the strategy's schema, then those that it no longer has."""
    strategy = STRATEGIES.get(result.strategy)
    order = [name for name in (strategy.schema if strategy else ()) if name in result.params]
    return [(name, result.params[name]) for name in dict.fromkeys([*order, *result.params])]


# --- the terminal --------------------------------------------------------------------------------


def summary(result: BacktestResult) -> Iterator[str]:
    """The report as lines of text."""
    number = f"Backtest {result.pk}: " if result.pk else ""
    yield f"{number}{result.strategy} {result.strategy_version}, {Engine(result.engine).label}"
    yield (
        f"{result.snapshots or 0:,} rows of quotes, {result.markets or 0:,} markets,"
        f" {result.start:%Y-%m-%d %H:%M} to {result.end:%Y-%m-%d %H:%M} UTC"
    )
    yield ""
    yield from wrap(result.verdict, TERMINAL_WIDTH)
    yield ""
    yield from _table(result)
    if result.lookahead:
        words = f"Look-ahead check. {result.lookahead['words']}"
        yield from ("", *wrap(words, TERMINAL_WIDTH))
    for note in result.assumptions:
        # The verdict states some of the assumptions.
        if note not in result.verdict:
            yield from ("", *wrap(f"Note: {note}", TERMINAL_WIDTH))


def _table(result: BacktestResult) -> Iterator[str]:
    figures = [each for group in FIGURES.values() for each in group if each.in_terminal]
    heads = [result.strategy, *_band_heads(result), *_yardsticks(result)]
    columns = [["", *(each.label for each in figures)]]
    for head, column in zip(heads, _columns(result), strict=True):
        columns.append([head, *(_plain(cell(each, column)) for each in figures)])
    widths = [max(map(len, column)) for column in columns]
    for label, *cells in zip(*columns, strict=True):
        numbers = (text.rjust(width) for text, width in zip(cells, widths[1:], strict=True))
        yield "  ".join((label.ljust(widths[0]), *numbers))


def _plain(cell: Cell) -> str:
    """The text of a cell for terminals that only have ASCII."""
    return cell.text.replace(MINUS, "-").replace(UNKNOWN, "-").removeprefix("+")


# --- columns and cells ---------------------------------------------------------------------------


def _columns(result: BacktestResult) -> list[Figures]:
    bands = (result.band[name] for name in _band_edges(result))
    return [result.figures, *bands, *_yardsticks(result).values()]


def _band_edges(result: BacktestResult) -> list[str]:
    """The fill scenarios that are shown: none where all have the same P&L."""
    pnls = _scenario_pnls(result)
    edges = [name for name in ("fewest", "most") if name in pnls]
    return edges if len(set(pnls.values())) > 1 else []


def _band_heads(result: BacktestResult) -> list[str]:
    return [f"{name} fills" for name in _band_edges(result)]


def _scenario_pnls(result: BacktestResult) -> dict[str, int]:
    """The P&L of each fill scenario by its name, the least first."""
    pnls = {name: figure(figures, "money.pnl") for name, figures in result.band.items()}
    return dict(sorted(pnls.items(), key=lambda each: each[1]))


def _yardsticks(result: BacktestResult) -> Mapping[str, Figures]:
    """The yardsticks in our order, which the database does not keep."""
    return {name: result.yardsticks[name] for name in YARDSTICKS if name in result.yardsticks}


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


def _track(values: Sequence[int]) -> Callable[[int], str]:
    """A scale from 2 to 98, so that no mark at the edge is cut off."""
    low, width = min(values), max(values) - min(values)
    return lambda value: f"{2 + 96 * (value - low) / width:.2f}" if width else "50.00"
