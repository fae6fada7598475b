"""The places of an archived day's files, in a folder or in object storage.

    tables/snapshots/day=2026-11-30/snapshots.parquet
    tables/markets_of_snapshots/day=2026-11-30/markets_of_snapshots.parquet
    manifests/snapshots/2026-11-30.json

Below each folder of `tables` there are files of one schema and nothing else, with their day in the
path, as other engines read them. Archives of before have a folder for each year, with the three
files of a day beside each other.

This module does not load Arrow, unless the archive lies in object storage.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from django.conf import settings

from kalshi_insights.lazy import LazyModule
from markets.storage.columns import FOLDERS
from markets.storage.manifest import (
    ArchiveError,
    ArchivePath,
    ArchiveUnreachable,
    Manifest,
    read_manifest,
    sha256_of_file,
)
from markets.storage.partitions import DayPartition

if TYPE_CHECKING:
    from kalshi_insights.export import object_storage
else:
    object_storage = LazyModule("kalshi_insights.export.object_storage")


# Where files are written that take their names later; what lies there belongs to nobody.
ASIDE = ".partial"


class DayFiles(NamedTuple):
    """The paths of an archived day's files."""

    rows: ArchivePath
    markets: ArchivePath
    manifest: ArchivePath


class LocalFiles(NamedTuple):
    """The same, on this machine."""

    rows: Path
    markets: Path
    manifest: Path


def archive_root() -> ArchivePath:
    """Return the folder of the archive; raises ArchiveUnreachable."""
    if isinstance(settings.ARCHIVE_PATH, Path):
        return settings.ARCHIVE_PATH
    try:
        return object_storage.connect(settings.ARCHIVE_PATH)
    except (OSError, ValueError) as error:
        raise ArchiveUnreachable(f"ARCHIVE_PATH cannot be used: {error}") from error


def require_bucket() -> None:
    """Check that the bucket of an archive in object storage is there; raises ArchiveError."""
    root = archive_root()
    if isinstance(root, Path):
        return
    try:
        is_there = root.bucket.exists()
    except OSError as error:
        raise ArchiveUnreachable(f"ARCHIVE_PATH cannot be read: {error}") from error
    if not is_there:
        raise ArchiveError(f"ARCHIVE_PATH names a bucket that is not there: {root.bucket}")


def place_of(partition: DayPartition) -> DayFiles:
    """Return where the files of a day are written."""
    root, kind, day = archive_root(), FOLDERS[partition.table], partition.day
    tables = root / "tables"
    rows, markets = (
        tables / name / f"day={day}" / f"{name}.parquet" for name in (kind, f"markets_of_{kind}")
    )
    return DayFiles(rows, markets, root / "manifests" / kind / f"{day}.json")


def aside_of(target: "object_storage.ObjectPath") -> "object_storage.ObjectPath":
    """Return where the object is uploaded that will take a name."""
    root = object_storage.connect(str(settings.ARCHIVE_PATH))
    return root / ASIDE / name_within(target).replace("/", "-")


def earlier_place_of(partition: DayPartition) -> DayFiles:
    """Return where archives of before have the files of a day."""
    folder = archive_root() / FOLDERS[partition.table] / f"{partition.day:%Y}"
    name = f"{partition.table}-{partition.day}"
    endings = (".parquet", ".markets.parquet", ".json")
    return DayFiles(*(folder / f"{name}{ending}" for ending in endings))


def files_of(partition: DayPartition) -> DayFiles:
    """Find the files of a day: those of an archive of before where it has no others."""
    files, earlier = place_of(partition), earlier_place_of(partition)
    return earlier if not is_there(files) and is_there(earlier) else files


def is_there(files: DayFiles) -> bool:
    """Return True for a day with a manifest, which is written last; raises ArchiveUnreachable."""
    try:
        return files.manifest.exists()
    except OSError as error:
        raise ArchiveUnreachable(f"ARCHIVE_PATH cannot be read: {error}") from error


def lies_as_before(partition: DayPartition) -> bool:
    """Return True for a day of which any file lies where archives of before have it."""
    try:
        return any(path.exists() for path in earlier_place_of(partition))
    except OSError as error:
        raise ArchiveUnreachable(f"ARCHIVE_PATH cannot be read: {error}") from error


def is_intact(partition: DayPartition, sha256: str) -> bool:
    """Check that a day's three files are still those that were verified.

    Raises ArchiveUnreachable where nobody can look at them.
    """
    files = files_of(partition)
    try:
        manifest = read_manifest(files.manifest)
    except ArchiveUnreachable:
        raise
    except ArchiveError:
        return False
    return manifest.sha256 == sha256 and has_files_of(manifest, files)


def has_files_of(manifest: Manifest, files: DayFiles | LocalFiles) -> bool:
    """Check that the rows and the markets are the manifest's; raises ArchiveUnreachable."""
    try:
        found = sha256_of_file(files.rows), sha256_of_file(files.markets)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ArchiveUnreachable(f"ARCHIVE_PATH cannot be read: {error}") from error
    return found == (manifest.sha256, manifest.markets.sha256)


def name_within(path: ArchivePath) -> str:
    """Return a path relative to the archive's folder."""
    return str(path).removeprefix(f"{archive_root()}/")


@contextmanager
def on_this_machine(files: DayFiles) -> Iterator[tuple[Path, Path]]:
    """Give a day's rows and markets as files of this machine, if need be as copies.

    Raises ArchiveError where one of them cannot be read.
    """
    with TemporaryDirectory(prefix="kalshi-archive-") as folder:
        yield _local_file(files.rows, folder), _local_file(files.markets, folder)


def _local_file(path: ArchivePath, folder: str) -> Path:
    if isinstance(path, Path):
        return path
    copy = Path(folder) / path.name
    try:
        with path.open("rb") as source, copy.open("wb") as sink:
            shutil.copyfileobj(source, sink)
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error}") from error
    return copy
