"""Import one file: its rows to the writer, and those that it refuses to a file of their own."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from markets.importing.import_writer import ImportWriter
from markets.importing.reading.source_file import SourceFile
from markets.importing.refused_file import RefusedFile
from markets.models import Import
from markets.models.imports import ImportFile

OnShare = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportJob:
    """What the files of one command share: who imports them, and what the rows prove."""

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
            (writer.finish if is_finished else writer.interrupt)()
        return row

    def _file(self, source: SourceFile) -> ImportFile:
        with source.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
        return ImportFile(
            kind=source.shape.kind,
            name=str(source.path),
            sha256=digest,
            size=size,
            said={**source.shape.as_said(), **self.said},
            account=self.account,
        )
