"""The report of a search: a heat map of two parameters, the points as a table, the walk-forward."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from statistics import median
from textwrap import wrap
from typing import Any, NamedTuple

from backtests.data.universe import MONEY
from backtests.metrics.deflation import deflate
from backtests.models import Search, SearchPoint, Trial
from backtests.report import TERMINAL_WIDTH
from backtests.report_figures import UNKNOWN, Cell, gain
from backtests.strategies.parameters import Value

# Values of a parameter that have rows or columns of their own; of more, neighbours share one.
MOST_VALUES = 12
STEPS = 5  # of colour on each side of nothing
DAY_MILLISECONDS = 86_400_000
# The drawing of equity, in units of its own.
WIDTH, HEIGHT = 1_000, 240


# --- overfitting ---------------------------------------------------------------------------------


def judgements(search: Search, best: SearchPoint) -> Iterator[tuple[str, str]]:
    """State in words, each with its title, whether the best point may be luck."""
    yield "Overfitting of this search", overfitting_words(search)
    deflated = deflate(best.judged_figures(), Trial.objects.family(search.strategy))
    yield "The best point", deflated.words()


def overfitting_words(search: Search) -> str:
    probability = search.figures.get("probability_of_overfitting")
    if probability is None:
        return (
            "Too little to tell: it takes two points or more that differ, and ten periods or more."
        )
    return (
        f"The probability of overfitting is {probability:.0%}: in so many of the ways to halve the"
        " time, the point that was best in one half was no better than the median in the other."
        " One half would mean that the search finds nothing that lasts."
    )


# --- the heat map --------------------------------------------------------------------------------


class HeatCell(NamedTuple):
    """The median P&L of the points of a cell; `step` is its colour, from -5 to 5."""

    text: str
    words: str
    step: str
    is_best: bool = False


class HeatMap(NamedTuple):
    """Points by the values of two parameters; without a second one it has a single row."""

    across: str
    down: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[HeatCell]]]
    others: Sequence[str]


class Axis(NamedTuple):
    """The values of a parameter in groups, each with its label."""

    name: str
    labels: Sequence[str]
    group: Mapping[Value, int]

    @classmethod
    def of(cls, name: str, values: Sequence[Value]) -> "Axis":
        ordered = values if isinstance(values[0], str) else sorted(values)
        groups = _grouped(ordered)
        labels = [str(each[0]) if len(each) == 1 else f"{each[0]} to {each[-1]}" for each in groups]
        return cls(name, labels, {v: n for n, each in enumerate(groups) for v in each})


def _grouped(values: Sequence[Value]) -> list[Sequence[Value]]:
    """At most `MOST_VALUES` groups of neighbours, of about the same size."""
    count = min(len(values), MOST_VALUES)
    cuts = [n * len(values) // count for n in range(count + 1)]
    return [values[first:end] for first, end in pairwise(cuts)]


def heat_map(
    search: Search, points: Sequence[SearchPoint], *, across: str = "", down: str = ""
) -> HeatMap:
    """The heat map of two of the varied parameters; unless they are named, of the first two."""
    names = list(search.varied)
    across = across if across in names else names[0]
    rest = [name for name in names if name != across]
    down = down if down in rest else next(iter(rest), "")
    x = Axis.of(across, search.varied[across])
    y = Axis.of(down, search.varied[down]) if down else Axis("", [""], {})
    cells = defaultdict(list)
    for point in points:
        row = y.group[point.params[down]] if down else 0
        cells[row, x.group[point.params[across]]].append(point)
    # Where a cell has several points, one of them may be much higher than the cell is.
    colour = _Colour([_median(each) for each in cells.values()])
    best = search.figures.get("best")
    rows = [
        (label, [_cell(cells.get((row, n), ()), colour, best) for n in range(len(x.labels))])
        for row, label in enumerate(y.labels)
    ]
    return HeatMap(across, down, x.labels, rows, [n for n in names if n not in (across, down)])


class _Colour:
    """The steps of colour by P&L: none for nothing, the last one for what is furthest from it."""

    def __init__(self, pnls: Sequence[float | None]) -> None:
        self.most = max((abs(pnl) for pnl in pnls if pnl is not None), default=0)

    def step(self, pnl: float) -> str:
        share = round(STEPS * abs(pnl) / self.most) if self.most else 0
        if not share:
            return "0"
        return f"up-{share}" if pnl > 0 else f"down-{share}"


def _median(points: Sequence[SearchPoint]) -> float | None:
    known = [point.pnl for point in points if point.pnl is not None]
    return median(known) if known else None


def _cell(points: Sequence[SearchPoint], colour: _Colour, best: int | None) -> HeatCell:
    pnl = _median(points)
    if pnl is None:
        failed = any(point.error for point in points)
        return HeatCell("failed" if failed else UNKNOWN, "", "none")
    words = gain(round(pnl)).text
    if len(points) > 1:
        known = [point.pnl for point in points if point.pnl is not None]
        low, high = gain(min(known)).text, gain(max(known)).text
        words = f"median {words} of {len(known):,} points, {low} to {high}"
    is_best = any(point.number == best for point in points)
    return HeatCell(_short(pnl), words, colour.step(pnl), is_best)


def _short(pnl: float) -> str:
    """Dollars in a few letters."""
    dollars = pnl / MONEY
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if abs(dollars) >= 10 * size:
            return _signed(f"{abs(dollars) / size:,.0f}{letter}", dollars)
    return _signed(
        f"{abs(dollars):,.2f}" if abs(dollars) < 100 else f"{abs(dollars):,.0f}", dollars
    )


def _signed(text: str, dollars: float) -> str:
    return f"+{text}" if dollars > 0 else f"\u2212{text}" if dollars < 0 else text


# --- the walk-forward ----------------------------------------------------------------------------


class FoldRow(NamedTuple):
    """A fold: its time, its markets, the parameters that it chose and what they earned."""

    begins: datetime
    ends: datetime
    trained: int
    tested: int
    point: int
    params: Mapping[str, Value]
    train: Cell
    test: Cell
    rank: str


class Line(NamedTuple):
    """A line of the drawing as an SVG path, and what it comes to."""

    path: str
    pnl: Cell


class WalkForwardReport(NamedTuple):
    out_of_sample: Line
    in_sample: Line
    zero: str
    begins: datetime
    ends: datetime
    folds: Sequence[FoldRow]
    boundaries: Sequence[str]
    untested: int
    unresolved: int
    is_same: bool


def walk_forward(search: Search, params: Mapping[int, Mapping[str, Value]]) -> WalkForwardReport:
    """The walk-forward of a finished search; `params` are those of the chosen points."""
    found, plan = search.figures["walk_forward"], search.plan
    scale = _Scale(plan["t"], [*found["out_of_sample"], *found["in_sample"]])
    return WalkForwardReport(
        out_of_sample=Line(scale.path(found["out_of_sample"]), gain(found["pnl"])),
        in_sample=Line(scale.path(found["in_sample"]), gain(found["in_sample_pnl"])),
        zero=f"M0 {scale.y(int(search.cash * MONEY)):.1f}H{WIDTH}",
        begins=_instant(plan["t"][0]),
        ends=_instant(plan["t"][-1]),
        folds=list(_fold_rows(found, plan, params)),
        boundaries=[f"M{scale.x(each['begins']):.1f} 0V{HEIGHT}" for each in plan["folds"]],
        untested=plan["untested"],
        unresolved=plan["unresolved"],
        is_same=all(each["point"] == search.figures["best"] for each in found["folds"]),
    )


def _fold_rows(
    found: Mapping[str, Any], plan: Mapping[str, Any], params: Mapping[int, Mapping[str, Value]]
) -> Iterator[FoldRow]:
    for fold, chosen in zip(plan["folds"], found["folds"], strict=True):
        yield FoldRow(
            begins=_instant(fold["begins"]),
            ends=_instant(fold["ends"]),
            trained=fold["train"],
            tested=fold["test"],
            point=chosen["point"],
            params=params.get(chosen["point"], {}),
            train=gain(chosen["train"]),
            test=gain(chosen["test"]),
            rank=f"{chosen['rank']:,} of {found['points']:,}",
        )


class _Scale:
    """The places of instants and of equity in the drawing."""

    def __init__(self, t: Sequence[int], equity: Sequence[int]) -> None:
        self.t = t
        self.first, self.span = t[0], max(1, t[-1] - t[0])
        self.low, self.high = min(equity), max(equity)

    def x(self, at: int) -> float:
        return min(1.0, max(0.0, (at - self.first) / self.span)) * WIDTH

    def y(self, equity: int) -> float:
        height = (equity - self.low) / ((self.high - self.low) or 1)
        return 10 + (1 - height) * (HEIGHT - 20)

    def path(self, equity: Sequence[int]) -> str:
        steps = zip(self.t[1:], equity[1:], strict=True)
        moves = "".join(f"H{self.x(at):.1f}V{self.y(each):.1f}" for at, each in steps)
        return f"M0 {self.y(equity[0]):.1f}{moves}"


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1_000, UTC)


# --- points --------------------------------------------------------------------------------------


class PointRow(NamedTuple):
    """A row of the table of points. `query` fills in the form of a backtest with the point."""

    point: SearchPoint
    values: Sequence[Value]
    pnl: Cell
    test: Cell
    fees: str
    sharpe: str


def point_rows(search: Search, points: Sequence[SearchPoint]) -> Iterator[PointRow]:
    for point in points:
        sharpe = point.annual_sharpe
        yield PointRow(
            point=point,
            values=[point.params[name] for name in search.varied],
            pnl=_gain(point.pnl),
            test=_gain(point.test_pnl),
            fees=UNKNOWN if point.fees is None else f"${Decimal(point.fees) / MONEY:,.2f}",
            sharpe=UNKNOWN if sharpe is None else f"{sharpe:.2f}".replace("-", "\u2212"),
        )


def _gain(pnl: int | None) -> Cell:
    return Cell(UNKNOWN, "flat") if pnl is None else gain(pnl)


# --- the terminal --------------------------------------------------------------------------------


def summary(search: Search, points: Sequence[SearchPoint], *, best: int) -> Iterator[str]:
    """The report as lines of text, with the best points."""
    number = f"Search {search.pk}: " if search.pk else ""
    counts = f"{len(points):,} combinations on {search.markets or 0:,} markets."
    yield f"{number}{search.strategy}, {counts}"
    best_point = next(each for each in points if each.number == search.figures["best"])
    for title, words in judgements(search, best_point):
        yield from ("", *wrap(f"{title}. {words}", TERMINAL_WIDTH))
    if "walk_forward" in search.figures:
        yield from _walk_forward_lines(search, {point.number: point.params for point in points})
    yield ""
    tests = f"{'tests':>14}  " if search.folds else ""
    yield f"{'P&L':>14}  {tests}{'fills':>8}  parameters (the best in hindsight)"
    ranked = sorted(
        (point for point in points if point.pnl is not None),
        key=lambda p: (-(p.pnl or 0), p.number),
    )
    for point in ranked[:best]:
        pnls = [point.pnl, point.test_pnl] if search.folds else [point.pnl]
        texts = [f"{_gain(pnl).text:>14}" for pnl in pnls]
        yield "  ".join((*texts, f"{point.fills:>8,}", _pairs(point.params)))
    for point in points:
        if point.error:
            yield f"could not run: {_pairs(point.params)}: {point.error}"


def _walk_forward_lines(search: Search, params: Mapping[int, Mapping[str, Value]]) -> Iterator[str]:
    report = walk_forward(search, params)
    yield ""
    yield (
        f"Walk-forward: {report.out_of_sample.pnl.text} by choices on the past;"
        f" {report.in_sample.pnl.text} on the same markets by the choice in hindsight."
    )
    yield f"{'test begins':<17}  {'chosen on':>9}  {'tested on':>9}  {'P&L':>14}  place, parameters"
    for fold in report.folds:
        yield (
            f"{fold.begins:%Y-%m-%d %H:%M} {fold.trained:>10,} {fold.tested:>10,}"
            f"  {fold.test.text:>14}  {fold.rank}: {_pairs(fold.params)}"
        )
    if report.untested or report.unresolved:
        yield (
            f"{report.untested:,} markets were open across a boundary and are in no test;"
            f" {report.unresolved:,} have no result."
        )


def _pairs(params: Mapping[str, Value]) -> str:
    return " ".join(f"{name}={value}" for name, value in params.items())
