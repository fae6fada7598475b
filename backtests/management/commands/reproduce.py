"""Reproduction of a stored backtest."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from backtests import runner
from backtests.models import BacktestResult, Status
from kalshi_insights.commands import ProgressBar

DIFFERS, MISUSED = 1, 2


class Command(BaseCommand):
    help = (
        "Run a stored backtest again and compare every order, fill, fee and settlement with the"
        " record, to the millionth of a dollar. Ends with 1 where they differ, and says what the"
        " result rests on that has changed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", type=int, help="as runbacktest printed it")

    def handle(self, *, id: int, **options: Any) -> None:
        result = BacktestResult.objects.filter(pk=id).first()
        if result is None:
            raise CommandError(f"id: there is no backtest {id}.", returncode=MISUSED)
        if result.status != Status.DONE:
            raise CommandError(f"id: backtest {id} is {result.status}.", returncode=MISUSED)
        try:
            with ProgressBar(sys.stderr) as bar:
                found = runner.reproduce(result, tell=bar.update)
        except runner.SAID as fault:
            raise CommandError(f"It cannot be run any more. {fault}", returncode=DIFFERS) from None
        for name in found.changed:
            self.stdout.write(f"changed since: {name}")
        if not found.identical:
            self.tell_difference(id, found)
        lines = result.executions.count()
        self.stdout.write(
            f"Identical: {lines:,} lines and ${result.final_cash:,.6f} of cash, to the millionth."
        )

    def tell_difference(self, id: int, found: runner.Reproduction) -> None:
        if found.difference:
            self.stdout.write(found.difference)
        why = "" if found.changed else " Nothing it rests on has changed: this is a defect."
        raise CommandError(f"Backtest {id} comes out otherwise.{why}", returncode=DIFFERS)
