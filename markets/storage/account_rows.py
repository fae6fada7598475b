"""The rows of an archived account beside those of the database."""

from typing import NamedTuple

from django.db import connection

from markets.storage.account import ACCOUNT, AccountTable, Expressions
from markets.storage.manifest import ArchiveError
from markets.storage.partitions import DayPartition


def restore_rows(partition: DayPartition, staged: str) -> int:
    """Insert the staged rows that are missing, in their old order, and return their number.

    Those of which the archive says more are completed, and count. Raises ArchiveError where a row
    has the same key and other values.
    """
    table = ACCOUNT[partition.table]
    if table.restore:
        return table.restore(staged)
    rows = StagedRows(partition.table, table, staged)
    inserted = [*rows.insert(), *rows.complete()]
    if different := rows.count_different():
        raise ArchiveError(
            f"{partition} is not restored: {different:,} of the archived rows are in the database"
            " with other values."
        )
    if table.follow_up:
        table.follow_up(inserted, rows.joined)
    return len(inserted)


class StagedRows(NamedTuple):
    """The rows of an archived day in a staging table, beside those of the database."""

    name: str
    table: AccountTable
    staged: str

    @property
    def joined(self) -> str:
        return self._joined("JOIN")

    def _joined(self, join: str) -> str:
        """Join the rows with their markets, if they have any, which the database may lack."""
        if "market_id" not in self.table.columns:
            return f"{self.staged} AS archived"
        return (
            f"{self.staged} AS archived"
            f" {join} archived_market AS old ON old.id = archived.market_id"
            f" {join} markets_market AS market ON market.ticker = old.ticker"
        )

    @property
    def same(self) -> str:
        restored = self.table.restored()
        return " AND ".join(f'known."{name}" = {restored[name]}' for name in self.table.key)

    @property
    def outdated(self) -> str:
        """The condition that the archive says more of a row than the database."""
        return self._says_more(self.table.restored(), self._known())

    @property
    def lacking(self) -> str:
        """Select the archived rows that the database lacks, or of which it does not say as much."""
        known, restored = self._known(), self.table.restored()
        compared = [name for name in restored if name not in self.table.derived]
        is_as_archived = (
            f"ROW({', '.join(known[name] for name in compared)})"
            f" IS NOT DISTINCT FROM ROW({', '.join(restored[name] for name in compared)})"
        )
        says_more = self._says_more(known, restored)
        return f"""
            SELECT FROM {self._joined("LEFT JOIN")} WHERE NOT EXISTS (
                SELECT FROM {self.name} AS known WHERE {self.same} AND NOT ({self.outdated})
                    AND ({says_more} OR {is_as_archived}))
        """  # noqa: S608

    def _known(self) -> dict[str, str]:
        return {name: f'known."{name}"' for name in self.table.restored()}

    def _says_more(self, row: Expressions, than: Expressions) -> str:
        return self.table.says_more(row, than) if self.table.says_more else "false"

    def are_missing(self) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT EXISTS ({self.lacking})")
            is_any: bool = cursor.fetchone()[0]
        return is_any

    def ids(self) -> dict[str, str]:
        """Return the ids of restored rows, if the table is told in the order of writing.

        They come before all that are on record: the recorder goes on from its newest pass.
        """
        if not self.table.in_order_of_writing:
            return {}
        place = "row_number() OVER (ORDER BY archived.number DESC)"
        return {"id": f"(SELECT least(min(id), 1) FROM {self.name}) - {place}"}  # noqa: S608

    def insert(self) -> list[int]:
        values = self.ids() | self.table.restored() | self.table.constants
        names = ", ".join(f'"{name}"' for name in values)
        return self._written(
            f"""
            INSERT INTO {self.name} ({names}) SELECT {", ".join(values.values())}
            FROM {self.joined}
            WHERE NOT EXISTS (SELECT FROM {self.name} AS known WHERE {self.same})
            ORDER BY archived.number RETURNING id
            """  # noqa: S608
        )

    def complete(self) -> list[int]:
        """Let rows say what the archive says, where that is more."""
        values = (self.table.restored() | self.table.constants).items()
        return self._written(
            f"""
            UPDATE {self.name} AS known
            SET {", ".join(f'"{name}" = {value}' for name, value in values)} FROM {self.joined}
            WHERE {self.same} AND ({self.outdated})
            RETURNING known.id
            """  # noqa: S608
        )

    def count_different(self) -> int:
        """Count the rows that are others in the database, after the missing ones were inserted."""
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM ({self.lacking}) AS different")  # noqa: S608
            different: int = cursor.fetchone()[0]
        return different

    def _written(self, statement: str) -> list[int]:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return [row[0] for row in cursor.fetchall()]
