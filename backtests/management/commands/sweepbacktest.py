"""A search over the parameters of a strategy, chosen on earlier markets and shown on later ones."""

import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from backtests import loading, strategies
from backtests.analysis.search import signals, values
from backtests.choosing import BadInput
from backtests.data.universe import MONEY, Universe, microseconds
from backtests.engine import kernel
from backtests.engine.kernel import Summary
from backtests.management.commands.runbacktest import (
    MISUSED,
    add_choice,
    add_execution,
    asked,
    pairs,
)
from backtests.metrics import dollars
from backtests.requests import Asked
from backtests.rules.execution import Fills
from backtests.strategies.base import Signal
from backtests.strategies.parameters import BadParameter
from kalshi_insights.commands import InvalidInstant, ProgressBar, parse_instant

BATCH = 32  # runs between two updates of the progress bar


class Command(BaseCommand):
    help = (
        "Run a strategy with many settings on the markets that were settled by an instant, and"
        " show what the best of them would have earned on the markets that came after it. The"
        " best of many always looks good where it was chosen: only the later column counts."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("strategy", help="its name; runbacktest --list shows them all")
        add("--vary", action="append", metavar="NAME=VALUES", required=True,
            help="a parameter's values, as 0.1,0.2 or 0.05:0.2:0.05; again for others")  # fmt: skip
        add("--confirm-from", default="", help="the instant (the middle of the window)")
        add("--best", type=int, default=10, help="how many to show (10)")
        add("--param", action="append", default=[], metavar="NAME=VALUE", help="of the strategy")
        add_choice(parser)
        add_execution(parser)

    def handle(self, **options: Any) -> None:
        now = datetime.now(UTC)
        try:
            with ProgressBar(sys.stderr) as bar:
                wanted, tried = planned(options, now=now)
                parts = earlier_and_later(wanted, options["confirm_from"], bar, now=now)
                found = [swept(wanted, part, [s for _, s in tried], bar) for part in parts]
        except (BadInput, InvalidInstant, BadParameter) as fault:
            raise CommandError(str(fault), returncode=MISUSED) from None
        names = [each for each, _ in tried]
        lines = table(names, *found, cash=int(wanted.cash * MONEY), best=options["best"])
        self.stdout.write("\n".join((counted(parts, len(tried)), "", *lines)))


def planned(
    options: dict[str, Any], *, now: datetime
) -> tuple[Asked, list[tuple[dict[str, str], Signal]]]:
    """Raises BadInput, InvalidInstant and BadParameter."""
    wanted = asked({"engine": "", **options}, now=now)
    wanted.checked(now=now)
    kind = strategies.find(wanted.strategy)
    if not issubclass(kind, Signal):
        raise BadInput("strategy", f"{kind.name} sends orders of its own: it cannot be swept.")
    varied = {name: values(name, text) for name, text in pairs(options["vary"])}
    return wanted, list(signals(kind, wanted.params, varied))


def earlier_and_later(
    wanted: Asked, confirm_from: str, bar: ProgressBar, *, now: datetime
) -> tuple[Universe, Universe]:
    """Raises BadInput where one of them is empty."""
    chosen = wanted.selection
    middle = chosen.start + (chosen.end - chosen.start) / 2
    at = parse_instant("confirm-from", confirm_from) if confirm_from else middle
    universe = loading.load(chosen, known_by=now, tell=lambda share: bar.update(share, "reading"))
    parts = universe.apart(microseconds(at))
    for part, where in zip(parts, ("settled by then", "that began after it"), strict=True):
        if not part.listings:
            raise BadInput("confirm-from", f"There is no market {where}: {at:%Y-%m-%d %H:%M} UTC.")
    return parts


def swept(
    wanted: Asked, universe: Universe, tried: Sequence[Signal], bar: ProgressBar
) -> list[Summary]:
    found: list[Summary] = []
    for first in range(0, len(tried), BATCH):
        bar.update(first / len(tried), f"trying {len(tried):,} settings")
        found += kernel.sweep(
            universe,
            tried[first : first + BATCH],
            wanted.execution,
            Fills.EXPECTED,
            cash=int(wanted.cash * MONEY),
        )
    return found


def counted(parts: Sequence[Universe], runs: int) -> str:
    earlier, later = (len(part.listings) for part in parts)
    return f"{runs:,} settings, chosen on {earlier:,} markets, shown on {later:,} later ones."


def table(
    names: Sequence[dict[str, str]],
    earlier: Sequence[Summary],
    later: Sequence[Summary],
    *,
    cash: int,
    best: int,
) -> Iterator[str]:
    """The best where they were chosen, and what they came to later."""
    ranked = sorted(range(len(names)), key=lambda n: (-earlier[n].equity, n))
    yield f"{'chosen on':>14}  {'later':>14}  {'fills':>6}  settings"
    for n in ranked[:best]:
        settings = " ".join(f"{name}={value}" for name, value in names[n].items())
        pnls = (dollars(each[n].equity - cash) for each in (earlier, later))
        yield "  ".join((*(f"{pnl:>14}" for pnl in pnls), f"{later[n].fills:>6,}", settings))
