"""Import of research tables, for backtests on real prices and results."""

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from kalshi_insights.commands import ProgressBar
from markets import importing


class Command(BaseCommand):
    help = (
        "Import research tables as backfilled quotes: "
        f"{', '.join(importing.FORMATS)}. Rows that are recorded already are not changed, so an"
        " interrupted import continues when it is started again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "folder", type=Path, help="one of these folders, or the folder that has them"
        )

    def handle(self, *, folder: Path, **options: Any) -> None:
        found = importing.found_in(folder.resolve())
        if not found:
            names = ", ".join(importing.FORMATS)
            raise CommandError(
                f"folder: {folder} is none of {names}, and contains none.", returncode=2
            )
        for tables in found:
            try:
                with ProgressBar(sys.stderr) as bar:
                    imported = importing.import_tables(tables, bar.update)
            except importing.Malformed as fault:
                raise CommandError(f"{tables.name}: {fault}") from None
            self.stdout.write(
                f"{tables.name}: {imported.markets:,} markets, {imported.candlesticks:,}"
                f" candlesticks and {imported.snapshots:,} snapshots are new. {imported.note}"
            )
