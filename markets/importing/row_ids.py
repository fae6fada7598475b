"""Sequences and ids of imported rows, which are made of the import and the line in its file."""

from typing import NamedTuple

from kalshi_insights.arrays import Array, Bools, Ints, np
from markets.models.imports import Import

MILLISECOND = 1_000  # microseconds
VERSION, VARIANT = 0x7, 0b10
LOW_BITS = 62


class PlacedRows(NamedTuple):
    """The places of an import's rows in the record: their sequences, the ids of their markets,
    their instants in microseconds."""

    import_row: Import
    sequence: Ints
    market: Ints
    at: Ints

    @classmethod
    def of(cls, row: Import, lines: Ints, market: Ints, at: Ints) -> "PlacedRows":
        return cls(row, row.first_sequence | lines, market, at)

    def select(self, rows: Bools) -> "PlacedRows":
        return PlacedRows(self.import_row, self.sequence[rows], self.market[rows], self.at[rows])

    @property
    def ids(self) -> Array:
        """A UUIDv7 for each row, as 16 bytes.

        Its free bits are the microseconds of the millisecond and the sequence, so that rows in the
        order of time and id are in the order of the file.
        """
        milliseconds, rest = np.divmod(self.at, MILLISECOND)
        found = np.empty((len(self.at), 2), ">u8")
        found[:, 0] = milliseconds << 16 | VERSION << 12 | rest
        # A sequence needs no more bits, as long as there are not 67 million imports.
        found[:, 1] = self.sequence.astype(np.uint64) | np.uint64(VARIANT << LOW_BITS)
        return found.view(np.uint8).reshape(len(self.at), 16)
