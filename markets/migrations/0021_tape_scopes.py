"""Spans of the tape tell whose trades were stored, and since when they are known.

Those of before count as read by the settings of today. What was listed later counts as known from
now on, what was followed live as it passed.
"""

import django.contrib.postgres.fields
from django.conf import settings
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps
from django.utils.timezone import now


def describe_spans(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    spans = apps.get_model("markets", "TapeSpan").objects.filter(is_whole=True)
    spans.update(
        series=sorted(settings.RECORD_SERIES), categories=sorted(settings.RECORD_CATEGORIES)
    )
    spans.exclude(proof="joined").update(known_at=now())


class Migration(migrations.Migration):
    dependencies = [("markets", "0020_tape")]

    operations = [
        migrations.AlterField(
            model_name="tapespan",
            name="start",
            field=models.DateTimeField(db_index=True, help_text="By the exchange's clock."),
        ),
        migrations.AddField(
            model_name="tapespan",
            name="series",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.TextField(),
                blank=True,
                default=list,
                help_text=(
                    "The only series whose trades were stored, beside those of `categories`."
                ),
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="tapespan",
            name="categories",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.TextField(),
                blank=True,
                default=list,
                help_text=(
                    "The same by category; where neither is named, trades of all series were."
                ),
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="tapespan",
            name="known_at",
            field=models.DateTimeField(
                blank=True,
                help_text=(
                    "When a whole span was read, to the next minute; null: within a minute."
                ),
                null=True,
            ),
        ),
        migrations.RunPython(describe_spans, migrations.RunPython.noop),
    ]
