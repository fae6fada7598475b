"""Revisions with when they were known, what the exchange recorded itself, and the ledger's finer points."""

import django.contrib.postgres.fields
import django.core.serializers.json
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("markets", "0002_market_storage"),
    ]

    operations = [
        migrations.AddField(
            model_name="market",
            name="book_mark",
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AlterField(
            model_name="marketsnapshot",
            name="quality",
            field=models.SmallIntegerField(
                default=0,
                help_text=(
                    "Bit flags: 1 crossed, 2 locked, 4 off the price grid, 8 one-sided, 16 stale."
                ),
            ),
        ),
        migrations.AddField(
            model_name="poll",
            name="ages",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="By tier, how old in seconds what was known of its markets had become when this run observed them again: p50, p95, max.",
            ),
        ),
        migrations.AddField(
            model_name="poll",
            name="exchange_active",
            field=models.BooleanField(
                blank=True,
                help_text="As the exchange last said; unknown where it did not.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="poll",
            name="order_books",
            field=models.IntegerField(default=0, help_text="Order books written."),
        ),
        migrations.AddField(
            model_name="poll",
            name="trading_active",
            field=models.BooleanField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="sweep",
            name="pages",
            field=models.JSONField(
                blank=True,
                default=list,
                help_text="Of each page: seconds since 1970, markets, first ticker.",
            ),
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
                    ("series", "Series"),
                    ("fees", "Fees"),
                    ("hours", "Hours"),
                    ("status", "Status"),
                ],
                max_length=20,
            ),
        ),
        migrations.AddIndex(
            model_name="sweep",
            index=models.Index(
                condition=models.Q(("complete", True), ("skipped", [])),
                fields=["tier", "started_at"],
                name="sweep_whole",
            ),
        ),
        migrations.CreateModel(
            name="ArchivedDay",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("table", models.CharField(max_length=100)),
                ("day", models.DateField()),
                ("file", models.TextField(help_text="Within the archive's folder.")),
                ("rows", models.BigIntegerField()),
                ("first_at", models.DateTimeField(blank=True, null=True)),
                ("last_at", models.DateTimeField(blank=True, null=True)),
                ("sha256", models.CharField(max_length=64)),
                ("schema_version", models.IntegerField()),
                (
                    "coverage",
                    models.FloatField(
                        blank=True,
                        help_text="Share of the day's slots with an observation; or unknown.",
                        null=True,
                    ),
                ),
                ("verified_at", models.DateTimeField()),
                (
                    "dropped_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="When retention took the rows out of the database.",
                        null=True,
                    ),
                ),
                (
                    "restored_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="When they were put back; then retention leaves them.",
                        null=True,
                    ),
                ),
            ],
            options={
                "ordering": ["-day", "table"],
                "constraints": [
                    models.UniqueConstraint(fields=("table", "day"), name="archived_day_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="Closure",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("start", models.DateTimeField()),
                ("end", models.DateTimeField()),
                ("known_at", models.DateTimeField()),
            ],
            options={
                "ordering": ["start"],
                "constraints": [
                    models.UniqueConstraint(fields=("start", "end"), name="closure_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="Drift",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("field", "unknown field"),
                            ("word", "unknown word"),
                            ("shape", "not the contract's shape"),
                        ],
                        max_length=10,
                    ),
                ),
                (
                    "where",
                    models.CharField(
                        help_text="What payload, which field, which word.", max_length=300
                    ),
                ),
                ("first_seen_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField()),
                ("count", models.BigIntegerField(default=1)),
                ("sample", models.TextField(help_text="The first one seen.")),
            ],
            options={
                "verbose_name_plural": "drift",
                "ordering": ["-last_seen_at"],
                "constraints": [
                    models.UniqueConstraint(fields=("kind", "where"), name="drift_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="BackfillSpan",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        help_text="trades, or candles and their minutes.", max_length=20
                    ),
                ),
                ("start", models.DateTimeField()),
                ("end", models.DateTimeField()),
                ("done_until", models.DateTimeField(blank=True, null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "market",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="backfills",
                        to="markets.market",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("market", "kind", "start", "end"), name="backfill_span_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Candlestick",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("period_interval", models.IntegerField(help_text="Minutes: 1, 60 or 1440.")),
                ("end_period_ts", models.DateTimeField()),
                (
                    "yes_bid_open",
                    models.DecimalField(blank=True, decimal_places=4, max_digits=6, null=True),
                ),
                (
                    "yes_bid_high",
                    models.DecimalField(blank=True, decimal_places=4, max_digits=6, null=True),
                ),
                (
                    "yes_bid_low",
                    models.DecimalField(blank=True, decimal_places=4, max_digits=6, null=True),
                ),
                (
                    "yes_bid_close",
                    models.DecimalField(blank=True, decimal_places=4, max_digits=6, null=True),
                ),
                (
                    "yes_ask_open",
                    models.DecimalField(blank=True, decimal_places=4, max_digits=6, null=True),
                ),
                (
                    "yes_ask_high",
                    models.DecimalField(blank=True, decimal_places=4, max_digits=6, null=True),
                ),
                (
                    "yes_ask_low",
                    models.DecimalField(blank=True, decimal_places=4, max_digits=6, null=True),
                ),
                (
                    "yes_ask_close",
                    models.DecimalField(blank=True, decimal_places=4, max_digits=6, null=True),
                ),
                (
                    "price_open",
                    models.DecimalField(blank=True, decimal_places=4, max_digits=6, null=True),
                ),
                (
                    "price_high",
                    models.DecimalField(blank=True, decimal_places=4, max_digits=6, null=True),
                ),
                (
                    "price_low",
                    models.DecimalField(blank=True, decimal_places=4, max_digits=6, null=True),
                ),
                (
                    "price_close",
                    models.DecimalField(blank=True, decimal_places=4, max_digits=6, null=True),
                ),
                (
                    "price_mean",
                    models.DecimalField(blank=True, decimal_places=4, max_digits=6, null=True),
                ),
                (
                    "price_previous",
                    models.DecimalField(blank=True, decimal_places=4, max_digits=6, null=True),
                ),
                (
                    "volume",
                    models.DecimalField(blank=True, decimal_places=2, max_digits=18, null=True),
                ),
                (
                    "open_interest",
                    models.DecimalField(blank=True, decimal_places=2, max_digits=18, null=True),
                ),
                ("recorded_at", models.DateTimeField()),
                (
                    "market",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="candlesticks",
                        to="markets.market",
                    ),
                ),
            ],
            options={
                "ordering": ["end_period_ts"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("market", "period_interval", "end_period_ts"),
                        name="candlestick_once",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="EventRevision",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("title", models.TextField(blank=True)),
                ("sub_title", models.TextField(blank=True)),
                ("mutually_exclusive", models.BooleanField(blank=True, null=True)),
                ("collateral_return_type", models.CharField(blank=True, max_length=50)),
                ("strike_date", models.DateTimeField(blank=True, null=True)),
                ("strike_period", models.CharField(blank=True, max_length=200)),
                ("settlement_sources", models.JSONField(blank=True, default=list)),
                ("fee_type_override", models.CharField(blank=True, max_length=100)),
                (
                    "fee_multiplier_override",
                    models.DecimalField(blank=True, decimal_places=6, max_digits=12, null=True),
                ),
                ("exchange_index", models.IntegerField(blank=True, null=True)),
                (
                    "known_at",
                    models.DateTimeField(
                        help_text="Observed live: when. Backfilled: the exchange's own time of the fact."
                    ),
                ),
                (
                    "known_at_assumed",
                    models.BooleanField(
                        default=False,
                        help_text="The exchange gives no time for it, so one was assumed.",
                    ),
                ),
                ("recorded_at", models.DateTimeField(help_text="When this row was written.")),
                (
                    "event",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="revisions",
                        to="markets.event",
                    ),
                ),
            ],
            options={
                "ordering": ["known_at", "id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("event", "known_at"), name="event_revision_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="FeeChange",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "known_at",
                    models.DateTimeField(
                        help_text="Observed live: when. Backfilled: the exchange's own time of the fact."
                    ),
                ),
                (
                    "known_at_assumed",
                    models.BooleanField(
                        default=False,
                        help_text="The exchange gives no time for it, so one was assumed.",
                    ),
                ),
                ("recorded_at", models.DateTimeField(help_text="When this row was written.")),
                ("fee_type", models.CharField(blank=True, max_length=100)),
                (
                    "fee_multiplier",
                    models.DecimalField(blank=True, decimal_places=6, max_digits=12, null=True),
                ),
                ("effective_at", models.DateTimeField()),
                (
                    "event",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="fee_changes",
                        to="markets.event",
                    ),
                ),
                (
                    "series",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="fee_changes",
                        to="markets.series",
                    ),
                ),
            ],
            options={
                "ordering": ["effective_at", "id"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("series__isnull", True), ("event__isnull", True), _connector="XOR"
                        ),
                        name="fee_change_of_one",
                    ),
                    models.UniqueConstraint(
                        fields=("series", "event", "effective_at", "fee_type", "fee_multiplier"),
                        name="fee_change_once",
                        nulls_distinct=False,
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="HotPeriod",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("started_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                (
                    "market",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="hot_periods",
                        to="markets.market",
                    ),
                ),
            ],
            options={
                "ordering": ["started_at"],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("ended_at", None)),
                        fields=("market",),
                        name="hot_period_open_once",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="MarketRevision",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "known_at",
                    models.DateTimeField(
                        help_text="Observed live: when. Backfilled: the exchange's own time of the fact."
                    ),
                ),
                (
                    "known_at_assumed",
                    models.BooleanField(
                        default=False,
                        help_text="The exchange gives no time for it, so one was assumed.",
                    ),
                ),
                ("recorded_at", models.DateTimeField(help_text="When this row was written.")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("initialized", "Initialized"),
                            ("inactive", "Inactive"),
                            ("active", "Active"),
                            ("closed", "Closed"),
                            ("determined", "Determined"),
                            ("disputed", "Disputed"),
                            ("amended", "Amended"),
                            ("finalized", "Finalized"),
                        ],
                        max_length=50,
                    ),
                ),
                ("result", models.CharField(blank=True, max_length=50)),
                (
                    "settlement_value",
                    models.DecimalField(blank=True, decimal_places=6, max_digits=7, null=True),
                ),
                ("settlement_ts", models.DateTimeField(blank=True, null=True)),
                ("open_time", models.DateTimeField()),
                (
                    "close_time",
                    models.DateTimeField(
                        blank=True,
                        help_text="Unknown where only the final one is on record.",
                        null=True,
                    ),
                ),
                ("expected_expiration_time", models.DateTimeField(blank=True, null=True)),
                (
                    "price_ranges",
                    models.JSONField(
                        default=list, encoder=django.core.serializers.json.DjangoJSONEncoder
                    ),
                ),
                (
                    "raw_data",
                    models.JSONField(
                        blank=True, help_text="The payload, where there is one.", null=True
                    ),
                ),
                (
                    "market",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="revisions",
                        to="markets.market",
                    ),
                ),
            ],
            options={
                "ordering": ["known_at", "id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("market", "known_at"), name="market_revision_once"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Trade",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("trade_id", models.CharField(max_length=100, unique=True)),
                ("created_time", models.DateTimeField()),
                ("count", models.DecimalField(decimal_places=2, max_digits=18)),
                ("yes_price", models.DecimalField(decimal_places=4, max_digits=6)),
                ("taker_outcome_side", models.CharField(max_length=50)),
                ("taker_book_side", models.CharField(max_length=50)),
                ("is_block_trade", models.BooleanField()),
                ("recorded_at", models.DateTimeField()),
                (
                    "market",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="trades",
                        to="markets.market",
                    ),
                ),
            ],
            options={
                "ordering": ["created_time", "id"],
                "indexes": [
                    models.Index(fields=["market", "created_time"], name="trade_market_created")
                ],
            },
        ),
    ]
