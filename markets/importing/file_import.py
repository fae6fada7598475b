"""Import one file: its rows to the writer, and those that it refuses to a file of their own."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from markets.importing.import_writer import ImportWriter
from markets.importing.reading.source_file import SourceFile
from markets.importing.refused_file import RefusedFile
from markets.models import Import
from markets.models.imports import ImportFile

READ_AT_ONCE = 2**20
OnShare = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportJob:
    """The common part of the files of one command: who imports them, and what the rows prove."""

    refused: RefusedFile
    account: str
    said: Mapping[str, Any]  # besides the shape of each file
    group: UUID = field(default_factory=uuid4)

    def run(self, source: SourceFile, on_share: OnShare) -> Import:
        """Import a file, from the line on to which an earlier run has come.

        Raises AlreadyImported, and ImportTaken where another process imports the file.
        """
        row = Import.objects.begin(self._file(source), group=self.group, at=datetime.now(UTC))
        writer = ImportWriter(row)
        is_finished = False
        try:
            for batch in source.rows(after_line=row.line):
                writer.write(batch)
                self.refused.add(source.path.name, batch.refused)
                on_share(batch.share)
            is_finished = True
        finally:
            if is_finished:
                writer.finish()
            else:
                writer.interrupt()
        return row

    def _file(self, source: SourceFile) -> ImportFile:
        return ImportFile(
            kind=source.shape.kind,
            name=str(source.path),
            sha256=_sha256(source.path, source.size),
            size=source.size,
            said={**source.shape.as_said(), **self.said},
            account=self.account,
        )


def _sha256(path: Path, size: int) -> str:
    """Return the hash of the first bytes of a file, which are all that is read of it."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size and (data := file.read(min(size, READ_AT_ONCE))):
            digest.update(data)
            size -= len(data)
    return digest.hexdigest()
