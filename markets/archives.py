"""Which days lie in the archive."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from django.db import models

from markets.storage.partitions import Piece

if TYPE_CHECKING:
    from markets.models import ArchivedDay


class ArchivedDayQuerySet(models.QuerySet["ArchivedDay"]):
    def of(self, piece: Piece) -> ArchivedDay | None:
        return self.filter(table=piece.table, day=piece.day).first()

    def by_piece(self) -> dict[Piece, ArchivedDay]:
        return {Piece(day.table, day.day): day for day in self}

    def note_dropped(self, piece: Piece, at: datetime) -> None:
        self.filter(table=piece.table, day=piece.day).update(dropped_at=at, restored_at=None)
