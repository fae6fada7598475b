"""The report of a run: one table of figures for the page and the terminal, beside band and
yardsticks."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from textwrap import wrap
from typing import Any, NamedTuple

from django.urls import reverse

from backtests.metrics.deflation import Deflation, deflate
from backtests.metrics.figures import pluralise
from backtests.models import BacktestResult, Engine, Trial
from backtests.report_figures import (
    FIGURES,
    MINUS,
    UNKNOWN,
    Cell,
    Figures,
    cell,
    figure,
    gain,
)
from backtests.rules.journal import JournalEntry
from backtests.strategies import STRATEGIES, YARDSTICKS

TERMINAL_WIDTH = 88
FILLS_SHOWN = 10


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
    band: Sequence[str]
    zero: str


# The labels of an `ExecutionModel`, by the names of its fields.
EXECUTION_LABELS = {
    "latency_seconds": "Latency, seconds",
    "patience_seconds": "Order expiry, seconds",
    "across_gaps": "Orders on their way into a gap",
    "assumed_size": "Assumed size, contracts",
    "assumed_queue": "Assumed queue, contracts",
    "clock_tolerance": "Clock tolerance, seconds",
    "position_limit": "Position limit, contracts",
    "make": "Rest at the best price",
    "through_broker": "Through a broker",
}
# Of execution models that were stored before.
REMOVED_LABELS = {"latency_snapshots": "Latency, books"}


# --- the page ------------------------------------------------------------------------------------


def column_heads(result: BacktestResult) -> list[str]:
    return ["This run", *_band_heads(result), *_yardsticks(result)]


def deflation(result: BacktestResult) -> Deflation:
    """Judge a finished run by the trials of its strategy so far."""
    family = Trial.objects.family(result.strategy)
    return deflate(result.figures, family)


def figure_groups(result: BacktestResult, deflated: Deflation) -> Iterator[FigureGroup]:
    columns = _columns(result, deflated)
    for title, figures in FIGURES.items():
        rows = [
            FigureRow(f.label, f.explanation, [cell(f, column) for column in columns])
            for f in figures
        ]
        known = [row for row in rows if any(each.text != UNKNOWN for each in row.cells)]
        if known:
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
    words = [f"{name} {gain(pnl).text}" for name, pnl in scenarios.items()] if low != high else []
    rows = [
        ComparisonRow("This run", gain(own), track(own), track(low), track(high), words, track(0))
    ]
    for name, pnl in pnls.items():
        rows.append(ComparisonRow(name, gain(pnl), track(pnl), "", "", (), track(0)))
    return rows


def judgements(result: BacktestResult, deflated: Deflation) -> Iterator[tuple[str, str]]:
    """State in words, each with its title, whether a result may be luck."""
    if result.figures:
        yield "Overfitting", deflated.words()
    if significance := result.figures.get("significance"):
        yield "Significance", significance["words"]


def execution_model(result: BacktestResult) -> list[tuple[str, Any]]:
    """The execution model as it was stored, with the labels of its fields."""
    labels = {**EXECUTION_LABELS, **REMOVED_LABELS}
    known = [name for name in labels if name in result.execution]
    return [(labels[name], result.execution[name]) for name in known]


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
        f"{pluralise(result.snapshots or 0, 'row')} of quotes,"
        f" {pluralise(result.markets or 0, 'market')},"
        f" {result.start:%Y-%m-%d %H:%M} to {result.end:%Y-%m-%d %H:%M} UTC"
    )
    yield ""
    yield from wrap(result.verdict, TERMINAL_WIDTH)
    yield ""
    deflated = deflation(result)
    yield from _table(result, deflated)
    for title, words in judgements(result, deflated):
        yield from ("", *wrap(f"{title}. {words}", TERMINAL_WIDTH))
    if result.lookahead:
        words = f"Look-ahead check. {result.lookahead['words']}"
        yield from ("", *wrap(words, TERMINAL_WIDTH))
    for note in result.assumptions:
        # The verdict states some of the assumptions.
        if note not in result.verdict:
            yield from ("", *wrap(f"Note: {note}", TERMINAL_WIDTH))
    yield from _conditions(result)


def first_fills(result: BacktestResult, entries: Iterable[JournalEntry]) -> Iterator[str]:
    """The first fills of a run's journal as lines of text, and how to see the others."""
    shown = list(islice((each for each in entries if each.kind == "fill"), FILLS_SHOWN))
    if not shown:
        return
    yield "Fills, in UTC and with the price of YES:"
    heads = ("time", "market", "side", "contracts", "price", "fee")
    table = [heads, *map(_fill_cells, shown)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for *texts, contracts, price, fee in table:
        left = (text.ljust(width) for text, width in zip(texts, widths[:3], strict=True))
        numbers = zip((contracts, price, fee), widths[3:], strict=True)
        yield "  ".join(("", *left, *(text.rjust(width) for text, width in numbers)))
    more = result.figures["activity"]["fills"] - len(shown)
    if more:
        yield f"  {more:,} more: {_place_of_fills(result)}"


def _fill_cells(fill: JournalEntry) -> tuple[str, ...]:
    return (
        f"{fill.at:%Y-%m-%d %H:%M:%S}",
        fill.ticker,
        f"buy {fill.outcome_side.upper()}",
        f"{fill.contracts:,.2f}".removesuffix(".00"),
        f"${fill.price:.4f}",
        f"${fill.fee:.6f}",
    )


def _place_of_fills(result: BacktestResult) -> str:
    if not result.pk:
        return "run it without --no-save, and the site has them all."
    page = reverse("backtests:detail", args=[result.pk])
    address = reverse("api:backtest-executions", args=[result.pk])
    return f"{page}?kind=fill on the site, or {address}?format=csv of the API."


def _conditions(result: BacktestResult) -> Iterator[str]:
    """State how often each condition of a strategy held that sent no order."""
    if result.conditions:
        yield from ("", "The strategy's own conditions held:")
    for each in result.conditions:
        words = f"  {each['name']}: {each['held']:,} of {each['asked']:,} times"
        together = each["held_with_earlier"]
        yield words if together is None else f"{words}, {together:,} with those before it"


def _table(result: BacktestResult, deflated: Deflation) -> Iterator[str]:
    figures = [each for group in FIGURES.values() for each in group if each.in_terminal]
    heads = [result.strategy, *_band_heads(result), *_yardsticks(result)]
    runs = _columns(result, deflated)
    # As on the page, a figure that no column has is left out.
    figures = [each for each in figures if any(figure(run, each.path) is not None for run in runs)]
    columns = [["", *(each.label for each in figures)]]
    for head, run in zip(heads, runs, strict=True):
        columns.append([head, *(_plain(cell(each, run)) for each in figures)])
    widths = [max(map(len, column)) for column in columns]
    for label, *cells in zip(*columns, strict=True):
        numbers = (text.rjust(width) for text, width in zip(cells, widths[1:], strict=True))
        yield "  ".join((label.ljust(widths[0]), *numbers))


def _plain(cell: Cell) -> str:
    """The text of a cell for terminals that only have ASCII."""
    return cell.text.replace(MINUS, "-").replace(UNKNOWN, "-").removeprefix("+")


# --- columns and cells ---------------------------------------------------------------------------


def _columns(result: BacktestResult, deflated: Deflation) -> list[Figures]:
    own = {**result.figures, "deflation": deflated.as_json()} if result.figures else {}
    others = [*(result.band[name] for name in _band_edges(result)), *_yardsticks(result).values()]
    return [own, *others]


def _band_edges(result: BacktestResult) -> list[str]:
    """The fill scenarios that are shown: none where all have the same P&L."""
    pnls = _scenario_pnls(result)
    edges: list[str] = [name for name in ("fewest", "most") if name in pnls]
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


def _track(values: Sequence[int]) -> Callable[[int], str]:
    """A scale from 2 to 98, so that no mark at the edge is cut off."""
    low, width = min(values), max(values) - min(values)
    return lambda value: f"{2 + 96 * (value - low) / width:.2f}" if width else "50.00"
