"""The raw payloads behind recorded quotes, compressed in blocks and kept for hours.

Payloads of one write share nearly all of their text, and compressed together they take a small
part of the room that each would take alone. What is written together is also dropped together.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import msgspec
from django.db import connection, models
from django.db.models import Min

# Reading one payload unpacks its whole block, which should stay a few megabytes.
PAYLOADS_PER_BLOCK = 2_000
LEVEL = 6
# Old blocks are deleted in transactions of this much time.
DROPPED_AT_ONCE = timedelta(hours=1)


class KeptPayload(NamedTuple):
    """A payload as it arrived, with the id of the snapshot that it was read into."""

    id: UUID
    timestamp: datetime
    payload: bytes


class _Packed(msgspec.Struct, array_like=True):
    ids: bytes
    payloads: list[bytes]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Packed).decode
ID_LENGTH = 16


def pack(kept: Sequence[KeptPayload]) -> bytes:
    """Compress payloads with their ids; those that resemble each other should be neighbours."""
    ids = b"".join([each.id.bytes for each in kept])
    return zlib.compress(_encode(_Packed(ids, [each.payload for each in kept])), LEVEL)


def unpack(content: bytes | memoryview) -> Iterator[tuple[UUID, bytes]]:
    packed = _decode(zlib.decompress(content))
    for place, payload in enumerate(packed.payloads):
        yield UUID(bytes=packed.ids[place * ID_LENGTH : (place + 1) * ID_LENGTH]), payload


class PayloadBlockQuerySet(models.QuerySet["PayloadBlock"]):
    def keep(self, kept: Sequence[KeptPayload]) -> None:
        """Write payloads in the order given, which should put similar ones side by side."""
        parts = range(0, len(kept), PAYLOADS_PER_BLOCK)
        self.bulk_create(block_of(kept[first : first + PAYLOADS_PER_BLOCK]) for first in parts)

    def payloads_of(self, snapshots: Mapping[UUID, datetime]) -> dict[UUID, bytes]:
        """Return those payloads of snapshots that are kept, by id; snapshots go by id and instant.

        Unpacks every block of their time, about a millisecond each.
        """
        if not snapshots:
            return {}
        first, last = min(snapshots.values()), max(snapshots.values())
        blocks = self.filter(last_at__gte=first, first_at__lte=last).order_by("pk")
        return {
            id: payload
            for block in blocks.iterator(chunk_size=10)
            for id, payload in unpack(block.content)
            if id in snapshots
        }

    def drop_before(self, limit: datetime) -> int:
        """Delete the blocks that are wholly older; return the number of their payloads."""
        dropped = 0
        while oldest := self.filter(last_at__lt=limit).aggregate(at=Min("last_at"))["at"]:
            dropped += _drop_before(min(oldest + DROPPED_AT_ONCE, limit))
        return dropped


def block_of(kept: Sequence[KeptPayload]) -> "PayloadBlock":
    instants = [each.timestamp for each in kept]
    return PayloadBlock(
        first_at=min(instants), last_at=max(instants), payloads=len(kept), content=pack(kept)
    )


def _drop_before(limit: datetime) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH dropped AS (
                DELETE FROM markets_payloadblock WHERE last_at < %s RETURNING payloads
            )
            SELECT coalesce(sum(payloads), 0)::bigint FROM dropped
            """,
            [limit],
        )
        count: int = cursor.fetchone()[0]
    return count


class PayloadBlock(models.Model):
    """The payloads of quotes that were written together, as they arrived, compressed."""

    first_at = models.DateTimeField(help_text="The first instant at which one of them arrived.")
    last_at = models.DateTimeField(db_index=True, help_text="The last such instant.")
    payloads = models.PositiveIntegerField(help_text="Their number.")
    content = models.BinaryField(help_text="See `unpack`.")

    objects = PayloadBlockQuerySet.as_manager()

    class Meta:
        ordering = ["-last_at", "-id"]
        verbose_name_plural = "raw payloads"

    def __str__(self) -> str:
        return f"{self.payloads} payloads until {self.last_at:%Y-%m-%d %H:%M:%S}"
