"""The manifest of an archived day: what its files hold, and the hashes that prove it.

It stands apart from the archive, so that retention, which runs beside the recorder, need not load
Arrow to check a hash.
"""

from datetime import date, datetime

import msgspec


class FileContent(msgspec.Struct, kw_only=True):
    """The content of one Parquet file."""

    rows: int
    bytes: int
    sha256: str
    content_sha256: str  # of the rows as PostgreSQL's CSV, in the file's order


class Manifest(FileContent, kw_only=True):
    """The content of the file with a day's rows, and of the file with their markets."""

    table: str
    day: date
    first_at: datetime | None
    last_at: datetime | None
    coverage: float | None  # None: unknown
    schema_version: int
    columns: dict[str, str]
    markets: FileContent
    written_at: datetime
    simulated: bool  # recorded from the simulated exchange
