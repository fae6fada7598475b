"""The manifest of an archived day: the content and the SHA-256 of each of its files.

This module does not load Arrow, so that retention can check hashes beside the recorder.
"""

import hashlib
from datetime import date, datetime
from pathlib import Path

import msgspec


class ArchiveError(Exception):
    """A day was not archived or not restored, with the reason; nothing half done is left."""


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


def read_manifest(path: Path) -> Manifest:
    """Raises ArchiveError where there is no manifest, or none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise ArchiveError(f"There is no such day in the archive: {path} is missing.") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise ArchiveError(f"{path} cannot be read: {error}") from error


def is_intact(rows: Path, sha256: str) -> bool:
    """Check that a day's three files are still those that were verified."""
    try:
        manifest = read_manifest(rows.with_suffix(".json"))
        markets = sha256_of_file(rows.with_suffix(".markets.parquet"))
        return sha256_of_file(rows) == manifest.sha256 == sha256 and (
            markets == manifest.markets.sha256
        )
    except (OSError, ArchiveError):
        return False


def sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
