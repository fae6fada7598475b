"""Trades in pieces of one day (UTC), by a key of sixteen bytes; and the spans of the tape.

What is on record moves, day by day, in this one transaction: some 100,000 trades a second. Those
trades were all backfilled, so that they count as known when they happened. The columns of fixed
width come first: less padding in every row. The key begins with the time, so that new rows go to
its end, and all trades can be read in their order.
"""

import sys
from uuid import UUID, uuid5

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.utils import CursorWrapper

NAMESPACE = UUID("6b1d0c52-5c0f-5f0a-9f5e-0d6c7d3c8a11")
UUID_TEXT = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
BACKFILL = 2
# A move of so many trades says how far it has come.
MANY = 1_000_000
APART = [
    # Deferred checks of what this transaction wrote would forbid altering the table.
    "SET CONSTRAINTS ALL IMMEDIATE",
    "ALTER TABLE markets_trade DROP CONSTRAINT markets_trade_pkey",
    "DROP INDEX trade_market_created",
    "ALTER TABLE markets_trade RENAME TO trades_before",
    """
    CREATE TABLE markets_trade (
        trade_id uuid NOT NULL,
        market_id bigint NOT NULL REFERENCES markets_market (id),
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
    "CREATE INDEX trade_market_created ON markets_trade (market_id, created_time)",
    "CREATE TABLE markets_trade_default PARTITION OF markets_trade DEFAULT",
    "CREATE TEMPORARY TABLE other_ids (text_id text PRIMARY KEY, id uuid) ON COMMIT DROP",
]
DAYS = """
    SELECT DISTINCT (created_time AT TIME ZONE 'UTC')::date FROM trades_before
    UNION SELECT generate_series(today - 1, today + 7, interval '1 day')::date
    FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) AS clock ORDER BY 1
"""
PIECE = """
    CREATE TABLE markets_trade_{0:%Y%m%d} PARTITION OF markets_trade
    FOR VALUES FROM ('{0} 00:00+00') TO (timestamptz '{0} 00:00+00' + interval '24 h')
"""
MOVE = f"""
    INSERT INTO markets_trade
    SELECT coalesce(other_ids.id, trade_id::uuid), market_id, created_time, created_time,
        recorded_at, (count * 100)::bigint, (yes_price * 10000)::smallint,
        CASE WHEN (taker_outcome_side, taker_book_side) = ('yes', 'bid') THEN 1
            WHEN (taker_outcome_side, taker_book_side) = ('no', 'ask') THEN 2 END,
        {BACKFILL}, is_block_trade
    FROM trades_before LEFT JOIN other_ids ON text_id = trade_id
    WHERE created_time >= '{{0}} 00:00+00' AND
        created_time < timestamptz '{{0}} 00:00+00' + interval '24 h'
    ORDER BY market_id, created_time ON CONFLICT DO NOTHING
"""


def move(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    with schema_editor.connection.cursor() as cursor:
        for statement in APART:
            cursor.execute(statement)
        name_others(cursor)
        cursor.execute(DAYS)
        days = [day for (day,) in cursor.fetchall()]
        cursor.execute("SELECT count(*) FROM trades_before")
        total = cursor.fetchone()[0]
        for day in days:
            cursor.execute(PIECE.format(day))
            cursor.execute(MOVE.format(day))
            if total >= MANY:
                sys.stdout.write(f"    {day}: {cursor.rowcount:,} of {total:,} trades\n")
        cursor.execute("DROP TABLE trades_before")


def name_others(cursor: CursorWrapper) -> None:
    """Give the trades whose ids are no UUIDs one that is made of their id."""
    cursor.execute("SELECT trade_id FROM trades_before WHERE trade_id !~ %s", [UUID_TEXT])
    others = [text for (text,) in cursor.fetchall()]
    for text in others:
        cursor.execute("INSERT INTO other_ids VALUES (%s, %s)", [text, made_of(text)])


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
