from argparse import ArgumentParser
from datetime import UTC, date, datetime

from django.core.management.base import BaseCommand, CommandError

from markets.storage import archive, restore
from markets.storage.archive import FOLDERS, ArchiveError
from markets.storage.partitions import Busy, Piece


class Command(BaseCommand):
    help = "Bring a day of the archive back into the database, if its files are sound."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("day", type=date.fromisoformat, help="2026-11-20")
        parser.add_argument("--table", choices=FOLDERS, help="only this one")

    def handle(self, *, day: date, table: str | None, **options: object) -> None:
        pieces = [Piece(each, day) for each in ([table] if table else FOLDERS)]
        if not table:
            pieces = [piece for piece in pieces if archive.place(piece).manifest.exists()]
        if not pieces:
            raise CommandError(f"There is no {day} in the archive.")
        for piece in pieces:
            try:
                restored = restore.restore_day(piece, now=datetime.now(UTC))
            except ArchiveError as fault:
                raise CommandError(str(fault)) from None
            except Busy:
                raise CommandError(
                    f"{piece} is not restored: its table is in use by another process. The same"
                    " command may be given again."
                ) from None
            self.stdout.write(f"{piece}: {told(restored)}")


def told(restored: restore.Restored) -> str:
    if not restored.written:
        return f"its {restored.rows:,} rows are there already"
    there = restored.rows - restored.written
    words = f"{restored.written:,} rows put back"
    return f"{words}, {there:,} were there already" if there else words
