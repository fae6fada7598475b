from argparse import ArgumentParser
from datetime import UTC, date, datetime

from django.core.management.base import BaseCommand, CommandError

from markets.storage import layout, restore
from markets.storage.columns import FOLDERS
from markets.storage.manifest import ArchiveError
from markets.storage.partitions import DayPartition, TableBusy


class Command(BaseCommand):
    help = "Restore an archived day into the database after checking its files."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("day", type=date.fromisoformat, help="2026-11-20")
        parser.add_argument("--table", choices=FOLDERS, help="only this table")
        parser.add_argument(
            "--accept-other-files",
            action="store_true",
            help="restore from files that are not those on record, as after restoring a backup",
        )

    def handle(
        self, *, day: date, table: str | None, accept_other_files: bool, **options: object
    ) -> None:
        days = [DayPartition(each, day) for each in ([table] if table else FOLDERS)]
        try:
            layout.require_bucket()
            days = [each for each in days if table or layout.is_there(layout.files_of(each))]
        except ArchiveError as error:
            raise CommandError(str(error)) from None
        if not days:
            raise CommandError(f"{day} is not in the archive.")
        for partition in days:
            try:
                restored = restore.restore_day(
                    partition, now=datetime.now(UTC), accept_other_files=accept_other_files
                )
            except ArchiveError as error:
                raise CommandError(str(error)) from None
            except TableBusy:
                raise CommandError(
                    f"{partition} is not restored: its table is in use by another process."
                    " Please run the same command again."
                ) from None
            self.stdout.write(f"{partition}: {describe(restored)}")


def describe(restored: restore.RestoredRows) -> str:
    if not restored.inserted:
        return f"all {restored.archived:,} rows were in the database already"
    existing = restored.archived - restored.inserted
    words = f"{restored.inserted:,} rows restored"
    return f"{words}, {existing:,} were in the database already" if existing else words
