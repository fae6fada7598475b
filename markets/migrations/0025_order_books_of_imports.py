"""Tell order books of one instant apart by their import as well: each keeps its own.

No row is written anew. One index of each day is built, which cannot fail, since the new constraint
allows whatever the old one did. Only writers of the day that is being built wait. A migration that
was cut off goes on where it stopped.
"""

from django.db import connection, migrations, models, transaction

from markets.models.snapshots import ContentHash

TABLE, ONCE, NEW = "markets_orderbooksnapshot", "order_book_once", "order_book_once_new"
LEVELS = ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")
COLUMNS = (
    f"(market_id, timestamp, sequence, hash_record_extended(ROW({', '.join(LEVELS)}), 0))"
    " NULLS NOT DISTINCT"
)


def distinguish_by_import(apps: object, schema_editor: object) -> None:
    if "sequence" in rows("SELECT pg_get_indexdef(%s::regclass)", [ONCE])[0][0]:
        return
    execute(f"CREATE UNIQUE INDEX IF NOT EXISTS {NEW} ON ONLY {TABLE} {COLUMNS}")
    for (partition,) in rows(
        """SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
           WHERE inhparent = %s::regclass ORDER BY relname""",
        [TABLE],
    ):
        build(partition)
    with transaction.atomic():
        execute(f"DROP INDEX {ONCE}")
        execute(f"ALTER INDEX {NEW} RENAME TO {ONCE}")


def build(partition: str) -> None:
    """Build the index of a partition, unless it has it already."""
    has_part = """
        SELECT 1 FROM pg_inherits JOIN pg_index ON indexrelid = inhrelid
        WHERE indrelid = %s::regclass AND inhparent = %s::regclass
    """
    with transaction.atomic():
        if not rows(has_part, [partition, NEW]):
            part = f"{partition}_market_id_timestamp_sequence_idx"
            execute(f"CREATE UNIQUE INDEX {part} ON {partition} {COLUMNS}")
            execute(f"ALTER INDEX {NEW} ATTACH PARTITION {part}")


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
            database_operations=[migrations.RunPython(distinguish_by_import)],
            state_operations=[
                migrations.RemoveConstraint(model_name="orderbooksnapshot", name=ONCE),
                migrations.AddConstraint(
                    model_name="orderbooksnapshot",
                    constraint=models.UniqueConstraint(
                        models.F("market"),
                        models.F("timestamp"),
                        models.F("sequence"),
                        ContentHash(*LEVELS),
                        nulls_distinct=False,
                        name=ONCE,
                    ),
                ),
            ],
        ),
    ]
