"""Search texts of series, events and markets, and their tickers in any case.

Costs a pass over these three tables, some 20 seconds for a million markets, and no lock that a
reader would notice; snapshots are left alone. Both extensions are trusted: the owner of the
database can create them.
"""

import django.db.models.deletion
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.contrib.postgres.operations import TrigramExtension, UnaccentExtension
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models.functions import Upper

# Declared immutable, which `unaccent` is not, so that the words of a search are folded once and
# not for every row. No index and no constraint rests on it: with other rules of `unaccent`, texts
# that were written before only have to be written anew.
FOLD = r"""
CREATE OR REPLACE FUNCTION markets_fold(words text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN octet_length(words) = char_length(words) THEN lower(words)
        ELSE lower(unaccent(regexp_replace(normalize(words, NFKD), '[\u0300-\u036f]+', '', 'g')))
    END
$$
"""
SOURCES = {
    "series": ("ticker, title", "markets_series AS series"),
    "event": ("event.ticker, event.title, sub_title", "markets_event AS event"),
    "market": (
        "market.ticker, event.title, market.title, yes_sub_title",
        "markets_market AS market JOIN markets_event AS event ON event.id = event_id",
    ),
}
BATCH = 10_000


def write_texts(apps: object, schema_editor: BaseDatabaseSchemaEditor) -> None:
    with schema_editor.connection.cursor() as cursor:
        for noun, (words, source) in SOURCES.items():
            cursor.execute(f"SELECT coalesce(max(id), 0) FROM markets_{noun}")
            last = cursor.fetchone()[0]
            for first in range(0, last + 1, BATCH):
                cursor.execute(
                    f"INSERT INTO markets_{noun}searchtext ({noun}_id, text)"
                    f" SELECT {noun}.id, markets_fold(concat_ws(' ', {words})) FROM {source}"
                    f" WHERE {noun}.id >= %s AND {noun}.id < %s",
                    [first, first + BATCH],
                )


def search_text(noun: str) -> migrations.CreateModel:
    one = models.OneToOneField(
        on_delete=django.db.models.deletion.CASCADE,
        primary_key=True,
        related_name="search_text",
        serialize=False,
        to=f"markets.{noun}",
    )
    return migrations.CreateModel(
        name=f"{noun.capitalize()}SearchText",
        fields=[("text", models.TextField()), (noun, one)],
        options={"abstract": False},
    )


def trigrams(noun: str) -> migrations.AddIndex:
    return migrations.AddIndex(
        model_name=f"{noun}searchtext",
        index=GinIndex(OpClass("text", name="gin_trgm_ops"), name=f"{noun}searchtext_trigrams"),
    )


def any_case(noun: str) -> migrations.AddIndex:
    return migrations.AddIndex(
        model_name=noun, index=models.Index(Upper("ticker"), name=f"{noun}_ticker_any_case")
    )


class Migration(migrations.Migration):
    dependencies = [("markets", "0010_silence_before_each_poll")]

    operations = [
        TrigramExtension(),
        UnaccentExtension(),
        migrations.RunSQL(FOLD, "DROP FUNCTION markets_fold"),
        *map(search_text, SOURCES),
        migrations.RunPython(write_texts, migrations.RunPython.noop),
        # Built at once from all texts, which is quicker than entry by entry.
        *map(trigrams, SOURCES),
        *map(any_case, SOURCES),
    ]
