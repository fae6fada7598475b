import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from kalshi_insights.commands import ProgressBar
from markets import importing


class Command(BaseCommand):
    help = (
        f"Import research tables as backfilled quotes: {', '.join(importing.FORMATS)}."
        " Existing rows stay as they are, so an interrupted import continues when it is run again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "folder", type=Path, help="one of these folders, or the folder that contains them"
        )

    def handle(self, *, folder: Path, **options: Any) -> None:
        folders = importing.find_tables(folder.resolve())
        if not folders:
            names = ", ".join(importing.FORMATS)
            raise CommandError(
                f"folder: {folder} is not one of {names} and contains none of them.", returncode=2
            )
        for tables in folders:
            try:
                with ProgressBar(sys.stderr) as bar:
                    imported = importing.import_tables(tables, bar.update)
            except importing.MalformedTable as error:
                raise CommandError(f"{tables.name}: {error}") from None
            self.stdout.write(
                f"{tables.name}: {imported.markets:,} new markets,"
                f" {imported.candlesticks:,} new candlesticks and"
                f" {imported.snapshots:,} new snapshots. {imported.note}"
            )
            if imported.differing:
                self.stderr.write(
                    f"{tables.name}: {imported.differing:,} results or candlesticks differ from"
                    " those on record, which stay."
                )
