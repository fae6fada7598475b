"""The columns that lists of markets go by, kept by triggers; and short texts back in their row.

Costs two passes over the markets, some 40 seconds for a million of them. Readers notice nothing,
and whoever writes markets or events waits for the end; snapshots are left alone. Long texts stay out of the row. The short ones had
gone with them, and a list then fetched each of them on its own.
"""

import django.db.models.deletion
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

BATCH = 10_000
# The columns of `markets_listedmarket` that follow the market's row, with their SQL.
FOLLOWING = {
    "ticker": "ticker",
    "status": "status",
    "close_time": "close_time",
    "changed_at": "greatest(quoted_at, recorded_at)",
    "volume_24h": "(volume_24h * 100)::bigint",
    "open_interest": "(open_interest * 100)::bigint",
    "yes_price": "((yes_bid + yes_ask) * 50000)::int",
    "spread": "((yes_ask - yes_bid) * 100000)::int",
    "change_24h": "((last_price - previous_price) * 100000)::int",
}
NAMES = ", ".join(FOLLOWING)
SELECTED = ", ".join(f"{sql} AS {name}" for name, sql in FOLLOWING.items())
INSERT = f"""
    INSERT INTO markets_listedmarket (market_id, event_id, series_id, {NAMES})
    SELECT market.id, event_id, event.series_id, {", ".join(f"market.{n}" for n in FOLLOWING)}
    FROM (SELECT id, event_id, {SELECTED} FROM {{source}}) AS market
    JOIN markets_event AS event ON event.id = event_id
"""
# A transition table is read through a subquery of its narrow columns: PostgreSQL keeps a copy of
# each row that an UPDATE joins, and for that would fetch all of a market's long texts.
TRIGGERS = f"""
CREATE FUNCTION markets_list_new() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {INSERT.format(source="changed")};
    RETURN NULL;
END $$;
CREATE TRIGGER markets_list_new AFTER INSERT ON markets_market
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION markets_list_new();

CREATE FUNCTION markets_list_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH market AS MATERIALIZED (SELECT id, {SELECTED} FROM changed)
    UPDATE markets_listedmarket AS listed
    SET {", ".join(f"{name} = market.{name}" for name in FOLLOWING)}
    FROM market WHERE listed.market_id = market.id
        AND ({", ".join(f"listed.{name}" for name in FOLLOWING)})
            IS DISTINCT FROM ({", ".join(f"market.{name}" for name in FOLLOWING)});
    RETURN NULL;
END $$;
CREATE TRIGGER markets_list_changed AFTER UPDATE ON markets_market
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION markets_list_changed();

CREATE FUNCTION markets_list_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'markets_event' THEN
        UPDATE markets_listedmarket SET series_id = NEW.series_id WHERE event_id = NEW.id;
    ELSE
        UPDATE markets_listedmarket SET event_id = NEW.event_id, series_id = (
            SELECT series_id FROM markets_event WHERE id = NEW.event_id) WHERE market_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER markets_list_moved AFTER UPDATE OF event_id ON markets_market FOR EACH ROW
    WHEN (OLD.event_id <> NEW.event_id) EXECUTE FUNCTION markets_list_moved();
CREATE TRIGGER markets_list_moved AFTER UPDATE OF series_id ON markets_event FOR EACH ROW
    WHEN (OLD.series_id <> NEW.series_id) EXECUTE FUNCTION markets_list_moved();
"""
NO_TRIGGERS = """
DROP FUNCTION markets_list_new CASCADE;
DROP FUNCTION markets_list_changed CASCADE;
DROP FUNCTION markets_list_moved CASCADE;
"""
# A third of each page stays free, so that an update finds room in its page and touches no index.
ROOM = "ALTER TABLE markets_listedmarket SET (fillfactor = 70)"
SHORT_TEXTS = ("ticker", "title", "yes_sub_title", "no_sub_title")
# A recorder of the last version may still run, and would write markets that nobody lists; these
# locks are taken in its own order.
ALONE = "LOCK TABLE markets_event, markets_market IN SHARE ROW EXCLUSIVE MODE"
TARGET = "ALTER TABLE markets_market SET (toast_tuple_target = {})"


def fill(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    texts = ", ".join(f"{name} = {name} || ''" for name in SHORT_TEXTS)
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) FROM markets_market")
        last = cursor.fetchone()[0]
        for first in range(0, last + 1, BATCH):
            batch = [first, first + BATCH]
            within = "id >= %s AND id < %s"
            # A new value is what makes PostgreSQL decide anew where a text lies.
            cursor.execute(f"UPDATE markets_market SET {texts} WHERE {within}", batch)
            source = f"markets_market WHERE {within}"
            cursor.execute(INSERT.format(source=source), batch)


def reference(model: str) -> models.ForeignKey:
    return models.ForeignKey(
        db_constraint=False,
        on_delete=django.db.models.deletion.DO_NOTHING,
        related_name="+",
        to=f"markets.{model}",
    )


class Migration(migrations.Migration):
    dependencies = [("markets", "0015_first_quotes_of_each_poll")]

    operations = [
        migrations.RunSQL(ALONE, migrations.RunSQL.noop),
        migrations.CreateModel(
            name="ListedMarket",
            fields=[
                (
                    "market",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="listed",
                        serialize=False,
                        to="markets.market",
                    ),
                ),
                ("close_time", models.DateTimeField(null=True)),
                (
                    "changed_at",
                    models.DateTimeField(
                        help_text="The last change of the quote or of the definition, whichever"
                        " is later."
                    ),
                ),
                ("volume_24h", models.BigIntegerField(null=True)),
                ("open_interest", models.BigIntegerField(null=True)),
                (
                    "yes_price",
                    models.IntegerField(help_text="The midpoint of a two-sided book.", null=True),
                ),
                ("spread", models.IntegerField(null=True)),
                ("change_24h", models.IntegerField(null=True)),
                ("ticker", models.CharField(db_collation="C", max_length=200)),
                ("status", models.CharField(max_length=50)),
                ("event", reference("event")),
                ("series", reference("series")),
            ],
            options={
                "indexes": [
                    models.Index(fields=["ticker"], name="listed_ticker"),
                    models.Index(fields=["status"], name="listed_status"),
                ],
            },
        ),
        migrations.RunSQL(ROOM, migrations.RunSQL.noop),
        migrations.RunSQL(TARGET.format(512), TARGET.format(128)),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.RunSQL(TRIGGERS, NO_TRIGGERS),
    ]
