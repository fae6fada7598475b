"""Snapshots, order books and raw payloads in pieces of one day (UTC).

A day is then dropped at once, and the newest day's indexes stay small. What is on record moves
into the pieces, day by day, in this one transaction. The columns of fixed width come first: less
padding in every row. The foreign keys are checked at once: deferred ones queue an event a row.
"""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

SNAPSHOTS = """
    CREATE TABLE markets_marketsnapshot (
        id uuid NOT NULL,
        market_id bigint NOT NULL REFERENCES markets_market (id),
        timestamp timestamptz NOT NULL,
        recorded_at timestamptz NOT NULL,
        sequence bigint,
        quality smallint NOT NULL,
        source varchar(10) NOT NULL,
        yes_bid numeric(6, 4),
        yes_ask numeric(6, 4),
        yes_bid_size numeric(18, 2),
        yes_ask_size numeric(18, 2),
        last_price numeric(6, 4),
        volume numeric(18, 2),
        open_interest numeric(18, 2),
        raw_data jsonb,
        PRIMARY KEY (id, timestamp),
        CONSTRAINT snapshot_once UNIQUE NULLS NOT DISTINCT (market_id, timestamp, source, sequence),
        CONSTRAINT snapshot_yes_bid_within_unit CHECK (yes_bid BETWEEN 0 AND 1),
        CONSTRAINT snapshot_yes_ask_within_unit CHECK (yes_ask BETWEEN 0 AND 1),
        CONSTRAINT snapshot_last_price_within_unit CHECK (last_price BETWEEN 0 AND 1)
    ) PARTITION BY RANGE (timestamp)
"""
ORDER_BOOKS = """
    CREATE TABLE markets_orderbooksnapshot (
        id uuid NOT NULL,
        market_id bigint NOT NULL REFERENCES markets_market (id),
        timestamp timestamptz NOT NULL,
        bid_prices numeric(6, 4)[] NOT NULL,
        bid_sizes numeric(18, 2)[] NOT NULL,
        ask_prices numeric(6, 4)[] NOT NULL,
        ask_sizes numeric(18, 2)[] NOT NULL,
        PRIMARY KEY (id, timestamp),
        CONSTRAINT order_book_once UNIQUE (market_id, timestamp)
    ) PARTITION BY RANGE (timestamp)
"""
RAW_PAYLOADS = """
    CREATE TABLE markets_rawpayload (
        id uuid NOT NULL,
        market_id bigint NOT NULL,
        timestamp timestamptz NOT NULL,
        payload text NOT NULL,
        PRIMARY KEY (id, timestamp)
    ) PARTITION BY RANGE (timestamp)
"""
# One piece a day of what is there, from yesterday at the latest until a week ahead.
PIECES = """
    DO $$
    DECLARE
        tables text[] := ARRAY['markets_marketsnapshot', 'markets_orderbooksnapshot',
                               'markets_rawpayload'];
        today date := (now() AT TIME ZONE 'UTC')::date;
        parent text;
        day date;
    BEGIN
        FOREACH parent IN ARRAY tables LOOP
            EXECUTE format('CREATE TABLE %I PARTITION OF %I DEFAULT', parent || '_default', parent);
            FOR day IN
                SELECT DISTINCT (timestamp AT TIME ZONE 'UTC')::date FROM snapshots_before
                WHERE parent = 'markets_marketsnapshot'
                UNION SELECT generate_series(today - 1, today + 7, interval '1 day')::date
                ORDER BY 1
            LOOP
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                    parent || to_char(day, '_YYYYMMDD'), parent,
                    day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
            END LOOP;
        END LOOP;
    END $$
"""
COLUMNS = (
    "id, market_id, timestamp, recorded_at, sequence, quality, source, yes_bid, yes_ask,"
    " yes_bid_size, yes_ask_size, last_price, volume, open_interest, raw_data"
)
FORWARD = [
    # Deferred checks of what this transaction wrote would forbid altering the table.
    "SET CONSTRAINTS ALL IMMEDIATE",
    """ALTER TABLE markets_marketsnapshot
           DROP CONSTRAINT snapshot_once, DROP CONSTRAINT markets_marketsnapshot_pkey""",
    "DROP INDEX snapshot_timestamp_brin",
    "ALTER TABLE markets_marketsnapshot RENAME TO snapshots_before",
    SNAPSHOTS,
    ORDER_BOOKS,
    RAW_PAYLOADS,
    PIECES,
    f"INSERT INTO markets_marketsnapshot ({COLUMNS}) SELECT {COLUMNS} FROM snapshots_before",
    "DROP TABLE snapshots_before",
    "CREATE INDEX snapshot_timestamp_brin ON markets_marketsnapshot USING brin (timestamp)",
]


class Migration(migrations.Migration):
    dependencies = [("markets", "0003_history")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(FORWARD)],
            state_operations=[
                migrations.CreateModel(
                    name="RawPayload",
                    fields=[
                        (
                            "id",
                            models.UUIDField(editable=False, primary_key=True, serialize=False),
                        ),
                        (
                            "timestamp",
                            models.DateTimeField(help_text="The instant the last byte arrived."),
                        ),
                        ("payload", models.TextField()),
                        (
                            "market",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="raw_payloads",
                                to="markets.market",
                            ),
                        ),
                    ],
                    options={"ordering": ["timestamp", "id"]},
                ),
                migrations.CreateModel(
                    name="OrderBookSnapshot",
                    fields=[
                        (
                            "id",
                            models.UUIDField(editable=False, primary_key=True, serialize=False),
                        ),
                        (
                            "timestamp",
                            models.DateTimeField(help_text="The instant the last byte arrived."),
                        ),
                        *(
                            (
                                f"{side}_prices",
                                django.contrib.postgres.fields.ArrayField(
                                    base_field=models.DecimalField(decimal_places=4, max_digits=6),
                                    size=None,
                                ),
                            )
                            for side in ("bid", "ask")
                        ),
                        *(
                            (
                                f"{side}_sizes",
                                django.contrib.postgres.fields.ArrayField(
                                    base_field=models.DecimalField(decimal_places=2, max_digits=18),
                                    size=None,
                                ),
                            )
                            for side in ("bid", "ask")
                        ),
                        (
                            "market",
                            models.ForeignKey(
                                db_index=False,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="order_books",
                                to="markets.market",
                            ),
                        ),
                    ],
                    options={
                        "ordering": ["timestamp", "id"],
                        "constraints": [
                            models.UniqueConstraint(
                                fields=("market", "timestamp"), name="order_book_once"
                            )
                        ],
                    },
                ),
            ],
        ),
        migrations.RunSQL(
            # Reading from an index alone needs pages that have been vacuumed.
            "ALTER TABLE markets_sweep SET (autovacuum_vacuum_insert_scale_factor = 0.02)",
            "ALTER TABLE markets_sweep RESET (autovacuum_vacuum_insert_scale_factor)",
        ),
        migrations.RunSQL(
            [
                """INSERT INTO markets_marketrevision (market_id, known_at, known_at_assumed,
                       recorded_at, status, result, settlement_value, settlement_ts, open_time,
                       close_time, expected_expiration_time, price_ranges, raw_data)
                   SELECT id, recorded_at, false, recorded_at, status, result, settlement_value,
                       settlement_ts, open_time, close_time, expected_expiration_time,
                       price_ranges, raw_data
                   FROM markets_market""",
                """INSERT INTO markets_eventrevision (event_id, known_at, known_at_assumed,
                       recorded_at, title, sub_title, mutually_exclusive, collateral_return_type,
                       strike_date, strike_period, settlement_sources, fee_type_override,
                       fee_multiplier_override, exchange_index)
                   SELECT id, recorded_at, false, recorded_at, title, sub_title,
                       mutually_exclusive, collateral_return_type, strike_date, strike_period,
                       settlement_sources, fee_type_override, fee_multiplier_override,
                       exchange_index
                   FROM markets_event""",
                """INSERT INTO markets_hotperiod (market_id, started_at)
                   SELECT id, now() FROM markets_market WHERE is_hot""",
            ]
        ),
    ]
