"""The manifest of an archived day: the content and the SHA-256 of each of its files.

This module does not load Arrow, so that retention can check hashes beside the recorder.
"""

import hashlib
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    from kalshi_insights.export.object_storage import ObjectPath

# A file of the archive, on a disk or in object storage. A text, since naming it would load Arrow.
ArchivePath: TypeAlias = "Path | ObjectPath"


class ArchiveError(Exception):
    """A day was not archived or not restored, with the reason; nothing half done is left."""


class ArchiveUnreachable(ArchiveError):
    """The folder or the storage does not answer, so nobody knows what the archive has."""


class ArchivedFile(msgspec.Struct, kw_only=True):
    """The size and the checksums of one file."""

    rows: int
    bytes: int
    sha256: str
    content_sha256: str  # of the rows as PostgreSQL's CSV, in the file's order


class Manifest(ArchivedFile, kw_only=True):
    """The file with a day's rows, and the file with the markets that they belong to."""

    table: str
    day: date
    first_at: datetime | None
    last_at: datetime | None
    coverage: float | None  # None if unknown
    schema_version: int
    columns: dict[str, str]
    markets: ArchivedFile
    written_at: datetime
    simulated: bool  # recorded from the simulated exchange


def read_manifest(path: ArchivePath) -> Manifest:
    """Raises ArchiveError where there is no manifest, or none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise ArchiveError(f"There is no such day in the archive: {path} is missing.") from None
    except msgspec.MsgspecError as error:
        raise ArchiveError(f"{path} cannot be read: {error}") from error
    except OSError as error:
        raise ArchiveUnreachable(f"{path} cannot be read: {error}") from error


def sha256_of_file(path: ArchivePath) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
