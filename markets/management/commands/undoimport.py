"""Undo an import, or all imports of a group."""

import sys
from argparse import ArgumentParser
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from kalshi_insights.commands import ProgressBar
from markets.importing import undo
from markets.management.commands.imports import found
from markets.models import Import
from markets.models.imports import ImportState


class Command(BaseCommand):
    help = (
        "Remove everything that an import brought, with the placeholders that nothing else needs."
        " After an interruption, the same command continues. Backtests that used the import keep"
        " their figures, and can no longer be reproduced."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="an import's number, or a group; see `imports`")

    def handle(self, *, name: str, **options: Any) -> None:
        for row in found(name):
            if row.state == ImportState.UNDONE:
                self.stdout.write(f"Import {row.pk} is undone already.")
                continue
            self.undo(row)

    def undo(self, row: Import) -> None:
        try:
            with ProgressBar(sys.stderr) as bar:
                undo.undo(row, on_progress=partial(bar.update, doing=f"undoing import {row.pk}"))
        except undo.UndoTaken as taken:
            raise CommandError(f"{taken} Run the same command again.") from None
        self.stdout.write(f"Import {row.pk} is undone: {row.file}, {row.rows:,} rows.")
        if row.used_by:
            self.stdout.write(
                f"It was used by {', '.join(row.used_by)}: these keep their figures, and can no"
                " longer be reproduced."
            )
