import time
from argparse import ArgumentParser
from datetime import UTC, date, datetime

from django.core.management.base import BaseCommand, CommandError

from markets.coverage.slots import day_share
from markets.intervals import Interval
from markets.models import TapeSpan
from markets.storage import archive, layout
from markets.storage.columns import FOLDERS
from markets.storage.manifest import ArchiveError
from markets.storage.partitions import TRADES, DayPartition


class Command(BaseCommand):
    help = (
        "Write the closed days (UTC) that are not in the archive yet, or have changed since, to"
        " Parquet files and read them back. Retention drops a day only after that."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--day", type=date.fromisoformat, help="only this day: 2026-11-20")
        parser.add_argument("--all", action="store_true", help="write archived days again, too")
        parser.add_argument("--table", choices=FOLDERS, help="only this table")
        parser.add_argument(
            "--move",
            action="store_true",
            help="write nothing, but move the days that an earlier version archived to where other"
            " engines read them",
        )

    def handle(
        self, *, day: date | None, all: bool, table: str | None, move: bool, **options: object
    ) -> None:
        if move and (day or all or table):
            raise CommandError("--move takes every day: leave out --day, --all and --table.")
        try:
            layout.require_bucket()
            if move:
                self.move(archive.days_to_move())
            else:
                self.write_days(day, table, include_archived=all or day is not None)
        except ArchiveError as error:
            raise CommandError(str(error)) from None

    def move(self, days: list[DayPartition]) -> None:
        failures = []
        for partition in days:
            try:
                archive.move_day(partition)
            except ArchiveError as error:
                failures.append(str(error))
            else:
                self.stdout.write(f"{partition}: moved")
        self.end(failures, days)

    def write_days(self, day: date | None, table: str | None, *, include_archived: bool) -> None:
        now = datetime.now(UTC)
        days = archive.days_to_archive(
            [table] if table else FOLDERS, now=now, include_archived=include_archived
        )
        if day:
            days = [partition for partition in days if partition.day == day]
            if not days:
                raise CommandError(f"{day} is not over yet, or nothing was recorded that day.")
        failures = [failure for partition in days if (failure := self.write(partition, now))]
        self.end(failures, days)

    def end(self, failures: list[str], days: list[DayPartition]) -> None:
        if failures:
            raise CommandError("\n".join(failures))
        if not days:
            self.stdout.write("Nothing to do.")

    def write(self, partition: DayPartition, now: datetime) -> str:
        """Archive one day; returns why it failed, or ""."""
        began = time.monotonic()
        try:
            manifest = archive.archive_day(partition, now=now, coverage=share_of(partition))
        except ArchiveError as error:
            return str(error)
        self.stdout.write(
            f"{partition}: {manifest.rows:,} rows, {manifest.bytes:,} bytes,"
            f" {time.monotonic() - began:.1f} s"
        )
        self.stdout.flush()
        return ""


def share_of(partition: DayPartition) -> float | None:
    """Return the share of a day that was observed: of trades, what was read whole.

    Order books are read in the same ticks as the hot list, so its slots stand for both.
    """
    if partition.table == TRADES:
        return TapeSpan.objects.share(Interval(*partition.bounds))
    return day_share(partition.day)
