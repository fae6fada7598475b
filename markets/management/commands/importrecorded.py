"""Research tables, for backtests on real prices and results."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from kalshi_insights.commands import Bar
from markets import importing


class Command(BaseCommand):
    help = (
        "Put research tables on record as backfilled quotes: "
        f"{', '.join(importing.FORMATS)}. What is on record stays as it is, so that an"
        " interrupted import goes on when started again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, help="one of these folders, or where they lie")

    def handle(self, *, folder: Path, **options: Any) -> None:
        found = importing.found_in(folder.resolve())
        if not found:
            names = ", ".join(importing.FORMATS)
            raise CommandError(f"folder: {folder} is none of {names}, and has none.", returncode=2)
        for tables in found:
            bar = Bar(sys.stderr)
            try:
                imported = importing.import_tables(tables, bar.tell)
            except importing.Malformed as fault:
                raise CommandError(f"{tables.name}: {fault}") from None
            finally:
                bar.end()
            self.stdout.write(
                f"{tables.name}: {imported.markets:,} markets, {imported.candlesticks:,}"
                f" candlesticks and {imported.snapshots:,} snapshots are new. {imported.note}"
            )
