import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from kalshi_insights.commands import ProgressBar, parse_period
from markets.importing import research_tables


class Command(BaseCommand):
    help = (
        f"Import research tables as backfilled quotes: {', '.join(research_tables.FORMATS)}."
        " Existing rows stay as they are, so an interrupted import continues when it is run again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "folder", type=Path, help="one of these folders, or the folder that contains them"
        )
        parser.add_argument(
            "--gap-after",
            type=parse_period,
            metavar="SECONDS",
            help="the usual time between two rows of a market, where they are no candlesticks: a"
            " row counts as fresh for three times as long, and then a gap begins; without it no"
            " gap is claimed",
        )

    def handle(self, *, folder: Path, gap_after: int | None, **options: Any) -> None:
        folders = research_tables.find_tables(folder.resolve())
        if not folders:
            names = ", ".join(research_tables.FORMATS)
            raise CommandError(
                f"folder: {folder} is not one of {names} and contains none of them.", returncode=2
            )
        if gap_after is not None:
            require_other_rows(folders)
        for tables in folders:
            try:
                with ProgressBar(sys.stderr) as bar:
                    imported = research_tables.import_tables(
                        tables, bar.update, gap_after=gap_after
                    )
            except research_tables.MalformedTable as error:
                raise CommandError(f"{tables.name}: {error}") from None
            self.stdout.write(
                f"{tables.name}: {imported.markets:,} new markets,"
                f" {imported.candlesticks:,} new candlesticks and"
                f" {imported.snapshots:,} new snapshots. {imported.note}"
            )
            if gap_after is not None and imported.rows:
                self.stdout.write(f"A row counts as fresh for {3 * gap_after:,} seconds.")
            if imported.differing:
                self.stderr.write(
                    f"{tables.name}: {imported.differing:,} results or candlesticks differ from"
                    " those on record, which stay."
                )


def require_other_rows(folders: Sequence[Path]) -> None:
    """Raise CommandError where all tables are of candlesticks."""
    if all(research_tables.FORMATS[each.name].has_candlesticks for each in folders):
        names = " and ".join(each.name for each in folders)
        verb = "has" if len(folders) == 1 else "have"
        raise CommandError(
            f"--gap-after: {names} {verb} candlesticks alone, whose own period counts",
            returncode=2,
        )
