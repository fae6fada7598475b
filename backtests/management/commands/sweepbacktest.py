"""The command that searches parameters on earlier markets and confirms the best on later ones."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from backtests import catalogue, loading
from backtests.analysis.search import combinations, parse_values
from backtests.data.universe import MONEY, Universe, microseconds
from backtests.engine import kernel
from backtests.engine.kernel import RunSummary
from backtests.management.commands.runbacktest import (
    MISUSED,
    add_execution_arguments,
    add_selection_arguments,
    add_strategy_arguments,
    choose_strategy,
    parse_pairs,
    request_from,
)
from backtests.metrics import dollars
from backtests.requests import BacktestRequest
from backtests.rules.execution import FillModel
from backtests.strategies.base import Signal
from backtests.strategies.parameters import BadParameter
from kalshi_insights.bad_input import BadInput
from kalshi_insights.commands import ProgressBar, parse_instant

BATCH = 32  # runs between two updates of the progress bar


class Command(BaseCommand):
    help = (
        "Run a strategy with many parameter combinations on the markets that were settled by an"
        " instant, and show what the best combinations would have earned on the markets that began"
        " after it. The best of many always looks good where it was found: only the later column"
        " counts."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add_strategy_arguments(parser)
        add("--vary", action="append", metavar="NAME=VALUES", required=True,
            help="values of a parameter, as 0.1,0.2 or 0.05:0.2:0.05; may be repeated")  # fmt: skip
        add("--confirm-from", default="",
            help="day or instant that parts earlier and later markets (the middle of the window)",
        )  # fmt: skip
        add("--best", type=int, default=10, help="combinations to show (10)")
        add_selection_arguments(parser)
        add_execution_arguments(parser)

    def handle(self, **options: Any) -> None:
        now = datetime.now(UTC)
        try:
            with ExitStack() as stack, ProgressBar(sys.stderr) as bar:
                choose_strategy(options, stack, warn=self.stderr.write)
                request, tried = plan(options, now=now)
                signals = [signal for _, signal in tried]
                parts = split(request, options["confirm_from"], bar, now=now)
                found = [search(request, part, signals, bar) for part in parts]
        except (BadInput, BadParameter) as fault:
            raise CommandError(str(fault), returncode=MISUSED) from None
        names = [combination for combination, _ in tried]
        earlier, later = (len(part.listings) for part in parts)
        counts = (
            f"{len(tried):,} combinations, searched on {earlier:,} markets, confirmed on"
            f" {later:,} later ones."
        )
        lines = table(names, *found, cash=int(request.cash * MONEY), best=options["best"])
        self.stdout.write("\n".join((counts, "", *lines)))


def plan(
    options: dict[str, Any], *, now: datetime
) -> tuple[BacktestRequest, list[tuple[dict[str, str], Signal]]]:
    """The request, and every combination with its signal.

    Raises BadInput and BadParameter.
    """
    request = request_from({"engine": "", **options}, now=now)
    request.validated(now=now)
    strategy = catalogue.load(request.strategy)
    if not issubclass(strategy, Signal):
        raise BadInput(
            "strategy", f"{strategy.name} sends its own orders; only signals can be searched."
        )
    varied = {name: parse_values(name, text) for name, text in parse_pairs(options["vary"])}
    return request, list(combinations(strategy, request.params, varied))


def split(
    request: BacktestRequest, confirm_from: str, bar: ProgressBar, *, now: datetime
) -> tuple[Universe, Universe]:
    """The universe of earlier markets, and that of later ones.

    Raises BadInput where one of them is empty.
    """
    selection = request.selection
    middle = selection.start + (selection.end - selection.start) / 2
    at = parse_instant("confirm-from", confirm_from) if confirm_from else middle
    universe = loading.load(
        selection, known_by=now, on_progress=lambda share: bar.update(share, "reading quotes")
    )
    parts = universe.split_at(microseconds(at))
    for part, words in zip(parts, ("was settled by", "began after"), strict=True):
        if not part.listings:
            raise BadInput("confirm-from", f"No market {words} {at:%Y-%m-%d %H:%M} UTC.")
    return parts


def search(
    request: BacktestRequest, universe: Universe, signals: Sequence[Signal], bar: ProgressBar
) -> list[RunSummary]:
    found: list[RunSummary] = []
    for first in range(0, len(signals), BATCH):
        bar.update(first / len(signals), f"trying {len(signals):,} combinations")
        found += kernel.run_many(
            universe,
            signals[first : first + BATCH],
            request.execution,
            FillModel.EXPECTED,
            cash=int(request.cash * MONEY),
        )
    return found


def table(
    names: Sequence[dict[str, str]],
    earlier: Sequence[RunSummary],
    later: Sequence[RunSummary],
    *,
    cash: int,
    best: int,
) -> Iterator[str]:
    """The best combinations on the earlier markets, with their P&L on the later ones."""
    ranked = sorted(range(len(names)), key=lambda n: (-earlier[n].equity, n))
    yield f"{'earlier P&L':>14}  {'later P&L':>14}  {'fills':>6}  parameters"
    for n in ranked[:best]:
        params = " ".join(f"{name}={value}" for name, value in names[n].items())
        pnls = (dollars(each[n].equity - cash) for each in (earlier, later))
        yield "  ".join((*(f"{pnl:>14}" for pnl in pnls), f"{later[n].fills:>6,}", params))
