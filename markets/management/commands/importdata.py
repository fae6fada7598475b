"""Import of data that people have: quotes, order books, trades, settlements, definitions."""

import getpass
import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from kalshi_insights.bad_input import BadInput
from kalshi_insights.commands import ProgressBar, parse_period
from markets import fees
from markets.importing.file_import import ImportedFile, ImportJob, file_to_import
from markets.importing.notes import notes_on_earlier_imports, notes_on_files
from markets.importing.reading.description import (
    SCALES,
    SIZES,
    UNITS,
    Description,
    parse_columns,
)
from markets.importing.reading.files import find_files
from markets.importing.reading.instants import FORMATS
from markets.importing.reading.mapping_file import read_mapping
from markets.importing.reading.presets import PRESETS
from markets.importing.reading.preview import counted, described_file, time_span
from markets.importing.reading.source_file import SourceFile, Survey
from markets.importing.refused_file import RefusedFile, RefusedFolder
from markets.models import Import
from markets.models.imports import AlreadyImported, ImportFile, ImportTaken, Kind, Recording
from markets.storage.partitions import TableBusy

FAILED, MISUSED = 1, 2
# The settings that a mapping file may have too; what a flag says counts.
SETTINGS = ("preset", "unit", "scale", "time_zone", "time_format", "ticker", "sizes")
OF_QUOTES = (Kind.QUOTES, Kind.BOOKS)


class Command(BaseCommand):
    help = (
        "Import files of quotes, order books, trades, settlements or definitions of markets: CSV,"
        " plain or compressed by gzip, and Parquet. Each file is checked as a whole before"
        " anything is written. After an interruption, the same command continues. Exits with 1 if"
        " the import fails, and with 2 if a flag or a file is wrong, naming it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("kind", choices=Kind.values, help="what the rows are")
        add("files", nargs="+", type=Path, metavar="FILE",
            help="a file, or a folder: its files and those of its folders, by name")  # fmt: skip
        add("--dry-run", action="store_true", help="show what would be read, and write nothing")
        add("--refused", type=Path, metavar="FILE",
            help="the CSV file for rows that are refused (for each import one in"
            " var/refused/)")  # fmt: skip
        add_reading_arguments(parser)
        add_meaning_arguments(parser)

    def handle(self, **options: Any) -> None:
        try:
            said = description(options)
            meaning = stated_meaning(options)
            refused = refused_rows(options["refused"])
            sources = [SourceFile(path, said) for path in find_files(options["files"])]
            with ProgressBar(sys.stderr) as bar:
                surveys = survey(sources, bar)
            if any(found.refused for found in surveys) and not options["dry_run"]:
                refused.create()
        except BadInput as fault:
            raise CommandError(str(fault), returncode=MISUSED) from None
        except KeyboardInterrupt:
            raise CommandError("Interrupted. Nothing is written.") from None
        files = files_to_import(sources, meaning)
        if options["dry_run"]:
            self.show(sources, files, surveys)
            last = ["Nothing is written."]
        else:
            last = self.import_all(sources, files, surveys, refused)
        self.write_all(notes_on_files(meaning, surveys), last)

    def import_all(
        self,
        sources: Sequence[SourceFile],
        files: Sequence[ImportFile],
        surveys: Sequence[Survey],
        refused: RefusedFile | RefusedFolder,
    ) -> list[str]:
        """Import all files; return the lines that say how to go on."""
        job = ImportJob(refused=refused, group=Import.objects.group_of(files))
        for source, file, found in zip(sources, files, surveys, strict=True):
            self.import_one(job, source, file, found)
        lines = ["Backtests read what they name: runbacktest … --import NUMBER"]
        if Import.objects.named(str(job.group)).count() > 1:
            lines.append(f"Undo them together: manage.py undoimport {job.group}")
        return lines

    def show(
        self,
        sources: Sequence[SourceFile],
        files: Sequence[ImportFile],
        surveys: Sequence[Survey],
    ) -> None:
        for source, file, found in zip(sources, files, surveys, strict=True):
            self.write_all(described_file(source, found))
            self.write_all(f"  {note}" for note in notes_on_earlier_imports(file))

    def write_all(self, *parts: Iterable[str]) -> None:
        for line in chain(*parts):
            self.stdout.write(line)

    def import_one(
        self, job: ImportJob, source: SourceFile, file: ImportFile, found: Survey
    ) -> None:
        doing = f"writing {source.path.name}"
        try:
            with ProgressBar(sys.stderr) as bar:
                imported = job.run(source, file, partial(bar.update, doing=doing))
        except AlreadyImported as known:
            self.stdout.write(str(known))
        except KeyboardInterrupt:
            raise CommandError("Interrupted. Run the same command again to continue.") from None
        except (ImportTaken, TableBusy) as taken:
            raise CommandError(f"{taken} Run the same command again to continue.") from None
        except (BadInput, OSError) as fault:
            raise CommandError(str(fault), returncode=FAILED) from None
        else:
            self.sum_up(imported, found)
            self.write_all(f"  {note}" for note in notes_on_earlier_imports(file))

    def sum_up(self, imported: ImportedFile, found: Survey) -> None:
        row = imported.row
        self.stdout.write(
            f"Import {row.pk}: {counted(row.rows, 'row')} of {row.kind},"
            f" {counted(len(found.tickers), 'market')}, from {row.name}"
        )
        self.write_all(time_span(found))
        if row.duplicates:
            self.stdout.write(f"  {counted(row.duplicates, 'row')} left out, repeating others")
        if row.refused:
            refused = counted(row.refused, "row")
            self.stdout.write(f"  {refused} refused, listed in {imported.refused}")
        for ticker, line in found.clock_falls:
            self.stdout.write(f"  {ticker}: the clock was set back before line {line}")


def add_reading_arguments(parser: ArgumentParser) -> None:
    """Add what tells how files are to be read."""
    add = parser.add_argument
    add("--preset", default="", choices=PRESETS, help="a layout that many people have")
    add("--mapping", type=Path, metavar="FILE",
        help="a YAML file that says the same as the flags here")  # fmt: skip
    add("--column", action="append", default=[], metavar="FIELD=COLUMN",
        help="the column of a field; without a column, the file has none for it")  # fmt: skip
    add("--unit", default="", choices=UNITS, help="the unit of prices (dollars)")
    add("--scale", default="", choices=SCALES, help="the side whose prices they are (yes)")
    add("--sizes", default="", choices=SIZES, help="unknown: do not read columns of sizes")
    add("--time-zone", default="", metavar="ZONE",
        help="the zone of times that are written without one: America/New_York, UTC")  # fmt: skip
    add("--time-format", default="", choices=FORMATS,
        help="the way in which times are written (any, as their length shows)")  # fmt: skip
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--ticker", default="", help="the market of all rows")
    one.add_argument(
        "--ticker-from-name", action="store_true", help="each file is named after its market"
    )


def add_meaning_arguments(parser: ArgumentParser) -> None:
    """Add what the rows prove, and what nobody else knows of their markets."""
    add = parser.add_argument
    add("--recording", default="", choices=Recording.values,
        help="on-change: a quote stands until the next row; sampled: a row proves its"
        " instant")  # fmt: skip
    add("--gap-after", type=parse_period, metavar="SECONDS",
        help="after so long without a row the market counts as unobserved")  # fmt: skip
    add("--fee-type", default="", choices=fees.COEFFICIENTS,
        help="the fees of series whose fees are unknown; they count as assumed")  # fmt: skip
    add("--fee-multiplier", default="", metavar="NUMBER", help="their multiplier (1)")


def description(options: Mapping[str, Any]) -> Description:
    """Return what is said of the files; raises BadInput."""
    stated, columns = read_mapping(options["mapping"]) if options["mapping"] else ({}, {})
    words = {name: options[name] or stated.get(name.replace("_", "-"), "") for name in SETTINGS}
    if options["ticker_from_name"]:
        words["ticker"] = ""
    said = Description(
        kind=Kind(options["kind"]),
        columns={**columns, **parse_columns(options["column"])},
        ticker_from_name=options["ticker_from_name"],
        **words,
    )
    said.check()
    return said


def stated_meaning(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was said of the rows' meaning, as it is stored with each import."""
    if options["kind"] not in OF_QUOTES:
        for name in ("recording", "gap_after"):
            if options[name]:
                flag = f"--{name.replace('_', '-')}"
                raise BadInput(flag, f"{options['kind']} are no observations of a quote")
    meaning = {
        "recording": options["recording"],
        "gap_after": options["gap_after"],
        "fee_type": options["fee_type"],
        "fee_multiplier": str(multiplier(options)) if options["fee_type"] else "",
    }
    if options["fee_multiplier"] and not options["fee_type"]:
        raise BadInput("--fee-multiplier", "needs --fee-type")
    return {name: value for name, value in meaning.items() if value}


def multiplier(options: Mapping[str, Any]) -> Decimal:
    text = options["fee_multiplier"] or "1"
    try:
        number = Decimal(text)
        for liquidity in ("taker", "maker"):
            fees.rate(options["fee_type"], number, liquidity)
    except InvalidOperation:
        raise BadInput("--fee-multiplier", f"{text!r} is not a number") from None
    except fees.UnknownFees as fault:
        raise BadInput("--fee-multiplier", str(fault)) from None
    return number


def survey(sources: Sequence[SourceFile], bar: ProgressBar) -> list[Survey]:
    """Look through all files before the first is written; raises BadInput."""
    sizes = [source.size for source in sources]
    total, done, found = max(sum(sizes), 1), 0, []
    for source, size in zip(sources, sizes, strict=True):

        def on_share(share: float, done: int = done, size: int = size) -> None:
            bar.update((done + share * size) / total, "checking")

        found.append(source.survey(on_share))
        require_rows(source, found[-1])
        done += size
    return found


def require_rows(source: SourceFile, found: Survey) -> None:
    """Raise BadInput for a file of which no row is left, since its import would stand for none."""
    if found.rows:
        return
    if found.refused:
        reason, lines = next(iter(found.reasons.items()))
        why = f"all {counted(found.refused, 'row')} refused; line {lines.lines[0]}: {reason}"
    else:
        why = f"has no rows of {found.shape.kind}"
        if found.left_out:
            why += f", but {counted(found.left_out, 'row')} that tell nothing of this kind"
    raise BadInput(source.path.name, why)


def files_to_import(sources: Sequence[SourceFile], said: Mapping[str, Any]) -> list[ImportFile]:
    """Return the files with their hashes; raises CommandError where one cannot be read."""
    by = account()
    try:
        return [file_to_import(source, account=by, said=said) for source in sources]
    except OSError as fault:
        raise CommandError(str(fault), returncode=FAILED) from None
    except KeyboardInterrupt:
        raise CommandError("Interrupted. Nothing is written.") from None


def refused_rows(named: Path | None) -> RefusedFile | RefusedFolder:
    """Return the file that a flag names for refused rows, or else the folder of all of them."""
    if named:
        return RefusedFile(named)
    return RefusedFolder(settings.BASE_DIR / "var" / "refused")


def account() -> str:
    """Return the system's name of whoever runs the command, or the number where it has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())
