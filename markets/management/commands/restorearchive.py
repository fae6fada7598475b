from argparse import ArgumentParser
from datetime import UTC, date, datetime

from django.core.management.base import BaseCommand, CommandError

from markets.storage import archive, restore
from markets.storage.archive import FOLDERS
from markets.storage.manifest import ArchiveError
from markets.storage.partitions import Busy, Piece


class Command(BaseCommand):
    help = "Restore a day of the archive into the database, if its files are undamaged."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("day", type=date.fromisoformat, help="such as 2026-11-20")
        parser.add_argument("--table", choices=FOLDERS, help="only this table")

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
                    f"{piece} is not restored, because another process is using its table. Run the"
                    " same command again later."
                ) from None
            self.stdout.write(f"{piece}: {describe(restored)}")


def describe(restored: restore.Restored) -> str:
    if not restored.written:
        return f"all of its {restored.rows:,} rows are there already"
    there = restored.rows - restored.written
    text = f"{restored.written:,} rows restored"
    return f"{text}, {there:,} were there already" if there else text
