import time
from argparse import ArgumentParser
from datetime import UTC, date, datetime

from django.core.management.base import BaseCommand, CommandError

from markets.coverage.slots import day_share
from markets.storage import archive
from markets.storage.archive import FOLDERS
from markets.storage.manifest import ArchiveError
from markets.storage.partitions import Piece


def slots_filled(piece: Piece) -> float | None:
    """The share of the day's runs that observed the hot list, and with it the order books."""
    return day_share(piece.day)


class Command(BaseCommand):
    help = (
        "Write closed days (UTC) to Parquet files and verify the files: those that are not in the"
        " archive yet, and those that have gained rows since. Retention only drops archived days."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--day", type=date.fromisoformat, help="only this day, such as 2026-11-20"
        )
        parser.add_argument(
            "--all", action="store_true", help="also days that are in the archive already"
        )
        parser.add_argument("--table", choices=FOLDERS, help="only this table")

    def handle(self, *, day: date | None, all: bool, table: str | None, **options: object) -> None:
        now = datetime.now(UTC)
        tables = [table] if table else list(FOLDERS)
        pieces = archive.due(tables, now=now, again=all or day is not None)
        if day:
            pieces = [piece for piece in pieces if piece.day == day]
            if not pieces:
                raise CommandError(f"{day} is not over yet, or has no rows.")
        failures = [fault for piece in pieces if (fault := self.write(piece, now))]
        if failures:
            raise CommandError("\n".join(failures))
        if not pieces:
            self.stdout.write("Nothing to do.")

    def write(self, piece: Piece, now: datetime) -> str:
        """Archive one day; return the reason where that failed."""
        began = time.monotonic()
        try:
            manifest = archive.archive_day(piece, now=now, coverage=slots_filled)
        except ArchiveError as fault:
            return str(fault)
        self.stdout.write(
            f"{piece}: {manifest.rows:,} rows, {manifest.bytes:,} bytes,"
            f" {time.monotonic() - began:.1f} s"
        )
        self.stdout.flush()
        return ""
