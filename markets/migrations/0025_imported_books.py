"""Tell imported order books apart by their line: a book that is there already stays another's.

Two imports may have the same book of one instant, and a stream may come back to a book that it had
at the same instant. Recorded books, which have no sequence, are told apart by their levels as
before, so the index that takes the place of the old one cannot fail. It is built day by day, as in
migration 0012: only writers of the day that is built wait, and a migration that was cut off
continues where it stopped.
"""

from django.db import connection, migrations, models, transaction

from markets.models.snapshots import ContentHash

TABLE, INDEX = "markets_orderbooksnapshot", "order_book_once"
WHOLE = f"{INDEX}_new"
LEVELS = ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")
CONTENT = f"hash_record_extended(ROW({', '.join(LEVELS)}), 0)"
COLUMNS = f"(market_id, timestamp, sequence, {CONTENT}) NULLS NOT DISTINCT"
PART = """
    SELECT child.oid::regclass::text FROM pg_inherits JOIN pg_index ON indexrelid = inhrelid
    JOIN pg_class AS child ON child.oid = indexrelid
    WHERE indrelid = %s::regclass AND inhparent = %s::regclass
"""


def tell_apart_by_sequence(apps: object, schema_editor: object) -> None:
    if not has_sequence():
        build()
        replace()


def has_sequence() -> bool:
    """Return True where an earlier run has put the new index in the place of the old one."""
    ((definition,),) = rows("SELECT pg_get_indexdef(%s::regclass)", [INDEX])
    return "sequence" in definition


def build() -> None:
    """Build the index of each partition, and one of the whole table that they belong to."""
    execute(f"CREATE UNIQUE INDEX IF NOT EXISTS {WHOLE} ON ONLY {TABLE} {COLUMNS}")
    for (partition,) in rows(
        """SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
           WHERE inhparent = %s::regclass ORDER BY relname""",
        [TABLE],
    ):
        with transaction.atomic():
            # One that was created meanwhile has its part of the index.
            if not rows(PART, [partition, WHOLE]):
                part = f"{partition}_once_idx"
                execute(f"CREATE UNIQUE INDEX {part} ON {partition} {COLUMNS}")
                execute(f"ALTER INDEX {WHOLE} ATTACH PARTITION {part}")
            keep_clustered(partition)


def keep_clustered(partition: str) -> None:
    """Hand on the mark of a closed day, or maintenance would write all of them anew."""
    marked = "SELECT 1 FROM pg_index WHERE indrelid = %s::regclass AND indisclustered"
    if rows(marked, [partition]):
        ((part,),) = rows(PART, [partition, WHOLE])
        execute(f"ALTER TABLE {partition} CLUSTER ON {part}")


def replace() -> None:
    with transaction.atomic():
        execute(f"DROP INDEX {INDEX}")
        execute(f"ALTER INDEX {WHOLE} RENAME TO {INDEX}")


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def rows(query: str, parameters: list[str]) -> list[tuple[str]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall()


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("markets", "0024_imports")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(tell_apart_by_sequence)],
            state_operations=[
                migrations.RemoveConstraint(model_name="orderbooksnapshot", name=INDEX),
                migrations.AddConstraint(
                    model_name="orderbooksnapshot",
                    constraint=models.UniqueConstraint(
                        models.F("market"),
                        models.F("timestamp"),
                        models.F("sequence"),
                        ContentHash(*LEVELS),
                        nulls_distinct=False,
                        name=INDEX,
                    ),
                ),
            ],
        ),
    ]
