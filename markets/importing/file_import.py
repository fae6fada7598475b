"""Import one file: its rows to the writer, and those that it refuses to a file of their own."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from markets.importing.import_writer import ImportWriter
from markets.importing.locks import held_alone
from markets.importing.reading.source_file import SourceFile
from markets.importing.refused_file import RefusedFile, RefusedFolder
from markets.models import Import
from markets.models.imports import ImportFile, ImportTaken

READ_AT_ONCE = 2**20
OnShare = Callable[[float], None]


class ImportedFile(NamedTuple):
    """The import of a file, and the file of the rows that it refused."""

    row: Import
    refused: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportJob:
    """The common part of the files of one command: their group, and where refused rows go."""

    refused: RefusedFile | RefusedFolder
    group: UUID

    def run(self, source: SourceFile, file: ImportFile, on_share: OnShare) -> ImportedFile:
        """Import a file, from the line on to which an earlier run has come.

        Raises AlreadyImported, and ImportTaken where another process imports the file.
        """
        taken = ImportTaken(f"Another process is importing {source.path.name}.")
        with held_alone(f"import {file.kind} {file.sha256}", taken):
            row = Import.objects.begin(file, group=self.group, at=datetime.now(UTC))
            return self._write(source, row, on_share)

    def _write(self, source: SourceFile, row: Import, on_share: OnShare) -> ImportedFile:
        writer = ImportWriter(row)
        is_finished = False
        try:
            refused = self._refused_file(row)
            for batch in source.rows(after_line=row.line):
                # Before the batch, since its lines are not read again once they are written.
                refused.add(source.path.name, batch.refused)
                writer.write(batch)
                on_share(batch.share)
            is_finished = True
        finally:
            if is_finished:
                writer.finish()
            else:
                writer.interrupt()
        return ImportedFile(row, refused.path)

    def _refused_file(self, row: Import) -> RefusedFile:
        if isinstance(self.refused, RefusedFolder):
            return self.refused.file_of(row.pk, after_line=row.line)
        return self.refused


def file_to_import(source: SourceFile, *, account: str, said: Mapping[str, Any]) -> ImportFile:
    """Describe a file with its hash; `said` are the words beside the shape of the file."""
    return ImportFile(
        kind=source.shape.kind,
        name=str(source.path),
        sha256=_sha256(source.path, source.size),
        size=source.size,
        said={**source.shape.as_said(), **said},
        account=account,
    )


def _sha256(path: Path, size: int) -> str:
    """Return the hash of the first bytes of a file, which are all that is read of it."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size and (data := file.read(min(size, READ_AT_ONCE))):
            digest.update(data)
            size -= len(data)
    return digest.hexdigest()
