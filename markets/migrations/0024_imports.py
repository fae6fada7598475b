"""Imports, their rows in the tables of the record, and placeholders of what they name.

The new columns are NULL or false and rewrite nothing. The one index that is built anew is that of
the revisions, one of which each import may state for an instant: writers of revisions wait for as
long, a few seconds a million. Placeholders stand in no list of markets: the triggers of migration
0016 leave them out until they are described.
"""

import uuid

import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# The trigger on new markets as migration 0016 has it, with a condition.
LIST_NEW = """
CREATE OR REPLACE FUNCTION markets_list_new() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO markets_listedmarket (market_id, event_id, series_id, ticker, status, close_time,
        changed_at, volume_24h, open_interest, yes_price, spread, change_24h)
    SELECT market.id, event_id, event.series_id, market.ticker, market.status, market.close_time,
        market.changed_at, market.volume_24h, market.open_interest, market.yes_price,
        market.spread, market.change_24h
    FROM (SELECT id, event_id, {columns} FROM {source}) AS market
    JOIN markets_event AS event ON event.id = event_id;
    RETURN NULL;
END $$;
"""
COLUMNS = """ticker, status, close_time, greatest(quoted_at, recorded_at) AS changed_at,
        (volume_24h * 100)::bigint AS volume_24h, (open_interest * 100)::bigint AS open_interest,
        ((yes_bid + yes_ask) * 50000)::int AS yes_price,
        ((yes_ask - yes_bid) * 100000)::int AS spread,
        ((last_price - previous_price) * 100000)::int AS change_24h"""
WITHOUT_PLACEHOLDERS = LIST_NEW.format(columns=COLUMNS, source="changed WHERE NOT is_placeholder")
WITH_ALL = LIST_NEW.format(columns=COLUMNS, source="changed")
# A row that is described comes into the lists then.
LIST_DESCRIBED = f"""
CREATE FUNCTION markets_list_described() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO markets_listedmarket (market_id, event_id, series_id, ticker, status, close_time,
        changed_at, volume_24h, open_interest, yes_price, spread, change_24h)
    SELECT market.id, event_id, event.series_id, market.ticker, market.status, market.close_time,
        market.changed_at, market.volume_24h, market.open_interest, market.yes_price,
        market.spread, market.change_24h
    FROM (SELECT id, event_id, {COLUMNS} FROM markets_market WHERE id = NEW.id) AS market
    JOIN markets_event AS event ON event.id = event_id ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER markets_list_described AFTER UPDATE OF is_placeholder ON markets_market
    FOR EACH ROW WHEN (OLD.is_placeholder AND NOT NEW.is_placeholder)
    EXECUTE FUNCTION markets_list_described();
"""
NOT_DESCRIBED = "DROP FUNCTION markets_list_described CASCADE"


class Migration(migrations.Migration):
    dependencies = [
        ("markets", "0023_restored_periods"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Import",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("group", models.UUIDField(db_index=True, default=uuid.uuid4)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("quotes", "Quotes"),
                            ("books", "Books"),
                            ("trades", "Trades"),
                            ("settlements", "Settlements"),
                            ("markets", "Markets"),
                        ],
                        max_length=20,
                    ),
                ),
                ("file", models.TextField(help_text="The name of the file as it was given.")),
                (
                    "sha256",
                    models.CharField(help_text="SHA-256 of the file's content.", max_length=64),
                ),
                ("size", models.BigIntegerField(help_text="Bytes.")),
                (
                    "account",
                    models.CharField(
                        blank=True,
                        help_text="The system's account that ran the command.",
                        max_length=200,
                    ),
                ),
                ("started_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                ("undone_at", models.DateTimeField(blank=True, null=True)),
                (
                    "said",
                    models.JSONField(
                        default=dict,
                        help_text="What was said of the file: mapping, preset, unit, zone, recording, fees.",
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("running", "Running"),
                            ("finished", "Finished"),
                            ("interrupted", "Interrupted"),
                            ("undoing", "Undoing"),
                            ("undone", "Undone"),
                        ],
                        db_index=True,
                        default="running",
                        max_length=20,
                    ),
                ),
                ("rows", models.BigIntegerField(default=0, help_text="Rows written.")),
                (
                    "refused",
                    models.BigIntegerField(default=0, help_text="Rows that could not be read."),
                ),
                (
                    "duplicates",
                    models.BigIntegerField(
                        default=0,
                        help_text="Rows that repeat another one, or are on record already.",
                    ),
                ),
                (
                    "line",
                    models.BigIntegerField(default=0, help_text="All lines up to it are written."),
                ),
                (
                    "used_by",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), blank=True, default=list, size=None
                    ),
                ),
            ],
            options={
                "ordering": ["-pk"],
                "permissions": [("undo_import", "Can undo imports")],
            },
        ),
        migrations.CreateModel(
            name="ImportedSpan",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                ("rows", models.BigIntegerField()),
            ],
            options={
                "ordering": ["import_row", "market"],
            },
        ),
        migrations.RemoveConstraint(
            model_name="feechange",
            name="fee_change_once",
        ),
        migrations.RemoveConstraint(
            model_name="marketrevision",
            name="market_revision_once",
        ),
        migrations.AddField(
            model_name="event",
            name="is_placeholder",
            field=models.BooleanField(
                db_default=False,
                default=False,
                editable=False,
                help_text="Made for the rows of an import; the exchange has not described it yet.",
            ),
        ),
        migrations.AddField(
            model_name="market",
            name="is_placeholder",
            field=models.BooleanField(
                db_default=False,
                default=False,
                editable=False,
                help_text="Made for the rows of an import; the exchange has not described it yet.",
            ),
        ),
        migrations.AddField(
            model_name="orderbooksnapshot",
            name="sequence",
            field=models.BigIntegerField(
                blank=True, editable=False, help_text="Of imports (see `Import`).", null=True
            ),
        ),
        migrations.AddField(
            model_name="series",
            name="is_placeholder",
            field=models.BooleanField(
                db_default=False,
                default=False,
                editable=False,
                help_text="Made for the rows of an import; the exchange has not described it yet.",
            ),
        ),
        migrations.AddField(
            model_name="trade",
            name="sequence",
            field=models.BigIntegerField(
                blank=True, editable=False, help_text="Of imports (see `Import`).", null=True
            ),
        ),
        migrations.AlterField(
            model_name="marketsnapshot",
            name="sequence",
            field=models.BigIntegerField(
                blank=True, help_text="Of streams and of imports (see `Import`).", null=True
            ),
        ),
        migrations.AlterField(
            model_name="marketsnapshot",
            name="source",
            field=models.CharField(
                choices=[
                    ("POLL", "Poll"),
                    ("WEBSOCKET", "Websocket"),
                    ("BACKFILL", "Backfill"),
                    ("IMPORT", "Import"),
                ],
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="import",
            name="user",
            field=models.ForeignKey(
                blank=True,
                help_text="Null for an import by command.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="imports",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="feechange",
            name="import_row",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                help_text="The import that brought it; it counts only for those who name that.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="markets.import",
            ),
        ),
        migrations.AddField(
            model_name="marketrevision",
            name="import_row",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                help_text="The import that brought it; it counts only for those who name that.",
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="markets.import",
            ),
        ),
        migrations.AddIndex(
            model_name="marketrevision",
            index=models.Index(
                condition=models.Q(("import_row__isnull", False)),
                fields=["import_row"],
                name="market_revision_imported",
            ),
        ),
        migrations.AddConstraint(
            model_name="feechange",
            constraint=models.UniqueConstraint(
                fields=(
                    "series",
                    "event",
                    "effective_at",
                    "fee_type",
                    "fee_multiplier",
                    "import_row",
                ),
                name="fee_change_once",
                nulls_distinct=False,
            ),
        ),
        migrations.AddConstraint(
            model_name="marketrevision",
            constraint=models.UniqueConstraint(
                fields=("market", "known_at", "import_row"),
                name="market_revision_once",
                nulls_distinct=False,
            ),
        ),
        migrations.AddField(
            model_name="importedspan",
            name="import_row",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="spans",
                to="markets.import",
            ),
        ),
        migrations.AddField(
            model_name="importedspan",
            name="market",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="imported_spans",
                to="markets.market",
            ),
        ),
        migrations.AddConstraint(
            model_name="import",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("kind__in", ["quotes", "books", "trades", "settlements", "markets"])
                ),
                name="import_kind_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="import",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("state__in", ["running", "finished", "interrupted", "undoing", "undone"])
                ),
                name="import_state_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="importedspan",
            constraint=models.UniqueConstraint(
                fields=("import_row", "market"), name="imported_span_once"
            ),
        ),
        migrations.RunSQL(WITHOUT_PLACEHOLDERS, WITH_ALL),
        migrations.RunSQL(LIST_DESCRIBED, NOT_DESCRIBED),
    ]
