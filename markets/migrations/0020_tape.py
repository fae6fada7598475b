"""Trades in pieces of one day (UTC), by a key of sixteen bytes; and the spans of the tape.

What is on record moves in this one transaction, in one pass over the old table. Meanwhile trades
can be read and not written; all else goes on. Only then, while the reference to markets is checked,
nobody can write definitions or quotes; and from when the old table is dropped until all of this is
done, a second or two later, nobody can read markets either. Stop the recorder: its runs would fail
for that long, and one that waits to write what it has read may end this transaction, after which
nothing has changed. `make bench ARGS=moving_trades` prints how long each takes for a million
trades. The old table and the new one need room at the same time.

Those trades were all backfilled, so that they count as known when they happened. The columns of
fixed width come first: less padding in every row. The key begins with the time, so that new rows go
to its end, and all trades can be read in their order. Maintenance puts the rows of each market
together later.
"""

import sys
import time
from uuid import UUID, uuid5

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.utils import CursorWrapper

NAMESPACE = UUID("6b1d0c52-5c0f-5f0a-9f5e-0d6c7d3c8a11")
UUID_TEXT = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
BACKFILL = 2
# The old table is read by so many blocks of 8 KiB at once, and its progress is told after each.
BLOCKS_AT_ONCE = 20_000
ANEW = [
    "LOCK TABLE markets_trade IN SHARE MODE",
    """
    CREATE TABLE trades_anew (
        trade_id uuid NOT NULL,
        market_id bigint NOT NULL,
        created_time timestamptz NOT NULL,
        known_at timestamptz NOT NULL,
        recorded_at timestamptz NOT NULL,
        contracts bigint NOT NULL,
        price smallint NOT NULL,
        taker_side smallint,
        source_code smallint NOT NULL,
        is_block_trade boolean NOT NULL,
        PRIMARY KEY (created_time, trade_id),
        CONSTRAINT trade_price_within_unit CHECK (price BETWEEN 0 AND 10000)
    ) PARTITION BY RANGE (created_time)
    """,
    "CREATE TABLE markets_trade_default PARTITION OF trades_anew DEFAULT",
    "CREATE TEMPORARY TABLE other_ids (text_id text PRIMARY KEY, id uuid) ON COMMIT DROP",
]
DAYS_AND_OTHER_IDS = """
    SELECT DISTINCT (created_time AT TIME ZONE 'UTC')::date,
        CASE WHEN trade_id !~ %s THEN trade_id END FROM markets_trade
    UNION SELECT generate_series(today - 1, today + 7, interval '1 day')::date, NULL
    FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) AS clock
"""
PIECE = """
    CREATE TABLE markets_trade_{0:%Y%m%d} PARTITION OF trades_anew
    FOR VALUES FROM ('{0} 00:00+00') TO (timestamptz '{0} 00:00+00' + interval '24 h')
"""
MOVE = f"""
    INSERT INTO trades_anew
    SELECT coalesce(other_ids.id, trade_id::uuid), market_id, created_time, created_time,
        recorded_at, (count * 100)::bigint, (yes_price * 10000)::smallint,
        CASE WHEN (taker_outcome_side, taker_book_side) = ('yes', 'bid') THEN 1
            WHEN (taker_outcome_side, taker_book_side) = ('no', 'ask') THEN 2 END,
        {BACKFILL}, is_block_trade
    FROM markets_trade AS old LEFT JOIN other_ids ON text_id = trade_id
    WHERE old.ctid >= '({{0}},0)'::tid AND old.ctid < '({{1}},0)'::tid
    ORDER BY created_time ON CONFLICT DO NOTHING
"""
IN_PLACE = [
    # Deferred checks of what this transaction wrote would forbid dropping the table.
    "SET CONSTRAINTS ALL IMMEDIATE",
    "ALTER INDEX trade_market_created RENAME TO trade_market_created_before",
    "CREATE INDEX trade_market_created ON trades_anew (market_id, created_time)",
    # From here on nobody writes markets.
    """
    ALTER TABLE trades_anew ADD CONSTRAINT markets_trade_market_id_fkey
        FOREIGN KEY (market_id) REFERENCES markets_market (id)
    """,
    # And from here on nobody reads them: the old reference to them goes with the table.
    "DROP TABLE markets_trade",
    "ALTER TABLE trades_anew RENAME TO markets_trade",
    "ALTER TABLE markets_trade RENAME CONSTRAINT trades_anew_pkey TO markets_trade_pkey",
]


def move(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    with schema_editor.connection.cursor() as cursor:
        for statement in ANEW:
            cursor.execute(statement)
        cursor.execute(DAYS_AND_OTHER_IDS, [UUID_TEXT])
        found = cursor.fetchall()
        for day in sorted({day for day, _ in found}):
            cursor.execute(PIECE.format(day))
        for text in sorted({text for _, text in found if text is not None}):
            cursor.execute("INSERT INTO other_ids VALUES (%s, %s)", [text, made_of(text)])
        move_blocks(cursor)
        for statement in IN_PLACE:
            cursor.execute(statement)


def move_blocks(cursor: CursorWrapper) -> None:
    cursor.execute("SELECT pg_relation_size('markets_trade') / current_setting('block_size')::int")
    blocks, moved, began = cursor.fetchone()[0], 0, time.monotonic()
    for first in range(0, blocks, BLOCKS_AT_ONCE):
        last = min(first + BLOCKS_AT_ONCE, blocks)
        cursor.execute(MOVE.format(first, last))
        moved += cursor.rowcount
        if blocks > BLOCKS_AT_ONCE:
            seconds = time.monotonic() - began
            sys.stdout.write(f"    {last / blocks:.0%}: {moved:,} trades in {seconds:.0f} s\n")


def made_of(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        return uuid5(NAMESPACE, text)


def of_trade(*, market: bool) -> list[tuple[str, models.Field]]:
    """Return the fields that a trade and a waiting trade share."""
    reference = (
        "market",
        models.ForeignKey(
            db_index=False,
            on_delete=django.db.models.deletion.PROTECT,
            related_name="trades",
            to="markets.market",
        ),
    )
    named = ("ticker", models.CharField(db_index=True, max_length=200))
    clock = {"help_text": "By the exchange's clock."} if market else {}
    learned = {
        "help_text": "When we learned of it live; of a trade fetched later, when it happened."
    }
    return [
        ("trade_id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
        reference if market else named,
        ("created_time", models.DateTimeField(**clock)),
        ("known_at", models.DateTimeField(**(learned if market else {}))),
        ("contracts", models.BigIntegerField(help_text="In 1/100 contract.")),
        ("price", models.SmallIntegerField(help_text="Of YES, in 1/10,000 dollar.")),
        (
            "taker_side",
            models.SmallIntegerField(blank=True, choices=[(1, "yes"), (2, "no")], null=True),
        ),
        ("is_block_trade", models.BooleanField()),
    ]


def own_id() -> tuple[str, models.Field]:
    return (
        "id",
        models.BigAutoField(
            auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
        ),
    )


class Migration(migrations.Migration):
    dependencies = [("markets", "0019_page_contents")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(move)],
            state_operations=[
                migrations.DeleteModel(name="Trade"),
                migrations.CreateModel(
                    name="Trade",
                    fields=[
                        *of_trade(market=True),
                        (
                            "recorded_at",
                            models.DateTimeField(help_text="When this row was written."),
                        ),
                        (
                            "source_code",
                            models.SmallIntegerField(
                                choices=[(1, "TAPE"), (2, "BACKFILL"), (3, "IMPORT")]
                            ),
                        ),
                    ],
                    options={
                        "ordering": ["created_time", "trade_id"],
                        "indexes": [
                            models.Index(
                                fields=["market", "created_time"], name="trade_market_created"
                            )
                        ],
                    },
                ),
            ],
        ),
        migrations.CreateModel(
            name="WaitingTrade",
            fields=[
                *of_trade(market=False),
                (
                    "asked_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="When the exchange was asked for the market last.",
                        null=True,
                    ),
                ),
            ],
            options={"ordering": ["created_time", "trade_id"]},
        ),
        migrations.CreateModel(
            name="TapeSpan",
            fields=[
                own_id(),
                (
                    "start",
                    models.DateTimeField(help_text="By the exchange's clock.", unique=True),
                ),
                ("end", models.DateTimeField(db_index=True)),
                (
                    "is_whole",
                    models.BooleanField(help_text="False: trades of this time may be missing."),
                ),
                (
                    "proof",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("joined", "a walk back to a known trade"),
                            ("listed", "all of its time was listed later"),
                            ("historical", "the same in the historical tier"),
                        ],
                        max_length=20,
                    ),
                ),
                (
                    "extent",
                    models.CharField(
                        choices=[("all", "every recorded market"), ("hot", "the hot list")],
                        default="all",
                        max_length=10,
                    ),
                ),
                ("with_combos", models.BooleanField(default=False)),
                (
                    "newest_ids",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(), blank=True, default=list, size=None
                    ),
                ),
                (
                    "tried_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="When this time was listed last, and not read whole.",
                        null=True,
                    ),
                ),
            ],
            options={"ordering": ["-start"]},
        ),
        migrations.CreateModel(
            name="TapeDay",
            fields=[
                own_id(),
                ("day", models.DateField(unique=True)),
                (
                    "markets",
                    models.IntegerField(help_text="Markets that traded, by volume or by the tape."),
                ),
                (
                    "agreeing",
                    models.IntegerField(help_text="Those whose trades add up to their volume."),
                ),
                (
                    "volume",
                    models.BigIntegerField(
                        help_text="By how much volumes grew, in 1/100 contract."
                    ),
                ),
                (
                    "contracts",
                    models.BigIntegerField(help_text="The sum of the trades, in 1/100 contract."),
                ),
                (
                    "share",
                    models.FloatField(help_text="Of the day, the share that was read whole."),
                ),
                ("compared_at", models.DateTimeField()),
            ],
            options={"ordering": ["-day"]},
        ),
        migrations.AlterField(
            model_name="sweep",
            name="tier",
            field=models.CharField(
                choices=[
                    ("hot", "Hot"),
                    ("universe", "Universe"),
                    ("combos", "Combos"),
                    ("updates", "Updates"),
                    ("settlement", "Settlement"),
                    ("census", "Census"),
                    ("order books", "Order Books"),
                    ("trades", "Trades"),
                    ("series", "Series"),
                    ("fees", "Fees"),
                    ("hours", "Hours"),
                    ("status", "Status"),
                ],
                max_length=20,
            ),
        ),
    ]
