"""A result in lines of text, for the terminal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from textwrap import wrap
from typing import Any

from backtests.metrics import dollars
from backtests.models import BacktestResult, Engine
from backtests.strategies import STRATEGIES, YARDSTICKS, Kind

COLUMNS = 88
Figures = Mapping[str, Any]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _count(value: int) -> str:
    return f"{value:,}"


# What is told of each run: words, where it stands among the figures, how it is written.
ROWS: Sequence[tuple[str, str, Callable[[Any], str]]] = (
    ("P&L", "money.pnl", dollars),
    ("  from prices", "money.price", dollars),
    ("  from settlements", "money.settlement", dollars),
    ("  fees", "money.fees", dollars),
    ("return", "total_return", _share),
    ("deepest drawdown", "drawdown.share", _share),
    ("Sharpe ratio", "ratios.sharpe", _ratio),
    ("return on locked capital, a year", "capital.annual_return", _share),
    ("share of capital locked", "capital.share_locked", _share),
    ("turnover", "activity.turnover", _ratio),
    ("events traded", "events.traded", _count),
    ("events won", "events.win_rate", _share),
    ("Brier score", "brier.score", _ratio),
    ("orders", "activity.orders", _count),
    ("fills", "activity.fills", _count),
    ("refused", "activity.refusals", _count),
)


def summary(result: BacktestResult) -> Iterator[str]:
    number = f"Backtest {result.pk}: " if result.pk else ""
    yield f"{number}{result.strategy} {result.strategy_version}, {Engine(result.engine).label}"
    yield (
        f"{result.snapshots or 0:,} rows of quotes, {result.markets or 0:,} markets,"
        f" {result.start:%Y-%m-%d %H:%M} to {result.end:%Y-%m-%d %H:%M} UTC"
    )
    yield ""
    yield from wrap(result.verdict, COLUMNS)
    yield ""
    yield from table([(result.strategy, result.figures), *_edges(result), *_yardsticks(result)])
    if result.lookahead:
        told = f"Checked for looking ahead. {result.lookahead['words']}"
        yield from ("", *wrap(told, COLUMNS))
    for note in result.assumptions:
        # Some of them the verdict says.
        if note not in result.verdict:
            yield from ("", *wrap(f"Note: {note}", COLUMNS))


def _edges(result: BacktestResult) -> list[tuple[str, Figures]]:
    """The band's, where they are not the headline."""
    edges = [(name, result.band[name]) for name in ("pessimistic", "optimistic")]
    return [] if all(edge == result.figures for _, edge in edges) else edges


def _yardsticks(result: BacktestResult) -> list[tuple[str, Figures]]:
    # The database keeps no order of names.
    return [(name, result.yardsticks[name]) for name in YARDSTICKS if name in result.yardsticks]


def table(runs: Sequence[tuple[str, Figures]]) -> Iterator[str]:
    columns = [["", *(words for words, _, _ in ROWS)]]
    for name, figures in runs:
        columns.append([name, *(_cell(figures, path, write) for _, path, write in ROWS)])
    widths = [max(map(len, column)) for column in columns]
    for words, *cells in zip(*columns, strict=True):
        numbers = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        yield "  ".join((words.ljust(widths[0]), *numbers))


def _cell(figures: Figures, path: str, write: Callable[[Any], str]) -> str:
    value: Any = figures
    for name in path.split("."):
        value = value[name]
    return "-" if value is None else write(value)


def catalogue() -> Iterator[str]:
    """Every strategy with its parameters."""
    for kind in STRATEGIES.values():
        yield from _described(kind)


def _described(kind: Kind) -> Iterator[str]:
    yield f"{kind.name} {kind.version}"
    yield from wrap(kind.summary, COLUMNS, initial_indent="  ", subsequent_indent="  ")
    for name, parameter in kind.schema.items():
        unit = f" {parameter.unit}" if parameter.unit else ""
        bounds = _bounds(parameter.least, parameter.most, parameter.choices)
        told = f"{name}={parameter.default}{unit}{bounds}: {parameter.help}"
        yield from wrap(told, COLUMNS, initial_indent="    ", subsequent_indent="      ")
    yield ""


def _bounds(least: float | None, most: float | None, choices: Sequence[str]) -> str:
    if choices:
        return f" ({', '.join(choices)})"
    if least is None or most is None:
        return ""
    low, high = (f"{bound:,}".removesuffix(".0") for bound in (least, most))
    return f" ({low} to {high})"
