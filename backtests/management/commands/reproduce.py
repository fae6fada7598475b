"""The command that runs a stored backtest again and compares the journals."""

import sys
from argparse import ArgumentParser
from contextlib import ExitStack
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from backtests import runner
from backtests.management.commands.runbacktest import MISUSED, choose_strategy
from backtests.models import BacktestResult, BacktestStatus
from kalshi_insights.commands import ProgressBar

DIFFERS = 1


class Command(BaseCommand):
    help = (
        "Run a stored backtest again and compare every order, fill, fee and settlement with the"
        " stored one, to the millionth of a dollar. Exits with 1 if they differ, and names what has"
        " changed of the code and the data behind the result."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", type=int, help="number of the backtest, as runbacktest prints it")
        parser.add_argument(
            "--file", default="", metavar="PATH",
            help="file or package of its strategy, if not installed",
        )  # fmt: skip

    def handle(self, *, id: int, file: str, **options: Any) -> None:
        result = BacktestResult.objects.filter(pk=id).first()
        if result is None:
            raise CommandError(f"id: there is no backtest {id}.", returncode=MISUSED)
        if result.status != BacktestStatus.DONE:
            raise CommandError(f"id: backtest {id} is {result.status}.", returncode=MISUSED)
        try:
            with ExitStack() as stack, ProgressBar(sys.stderr) as bar:
                choice = {"strategy": result.strategy, "file": file}
                choose_strategy(choice, stack, warn=self.stderr.write)
                reproduction = runner.reproduce(result, on_progress=bar.update)
        except runner.USER_ERRORS as fault:
            raise CommandError(
                f"The backtest can no longer be run. {fault}", returncode=DIFFERS
            ) from None
        for name in reproduction.changed:
            self.stdout.write(f"changed since: {name}")
        if not reproduction.identical:
            self.fail(id, reproduction)
        entries = result.executions.count()
        self.stdout.write(
            f"Identical to the millionth of a dollar: {entries:,} journal entries and"
            f" ${result.final_cash:,.6f} of final cash."
        )

    def fail(self, id: int, reproduction: runner.Reproduction) -> None:
        if reproduction.difference:
            self.stdout.write(reproduction.difference)
        raise CommandError(
            f"Backtest {id} has another result now. {why(reproduction)}", returncode=DIFFERS
        )


def why(reproduction: runner.Reproduction) -> str:
    """The reason for another result, in words."""
    if not reproduction.changed:
        return "Neither code nor data have changed, so this is a defect."
    if reproduction.rules_changed:
        return (
            "The rules by which orders are filled, or by which data are read, have changed since it"
            " was stored: the old result is not wrong, it follows the rules of its time."
        )
    return "The code of the rules is the same; what has changed is named above."
