"""Spans of refused records stay open beside the spans that a backfill was asked for."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("markets", "0012_rows_of_one_instant")]

    operations = [
        migrations.AddField(
            model_name="backfillspan",
            name="refusal",
            field=models.TextField(
                blank=True,
                default="",
                help_text="Why a record of this time cannot be read; blank for time as it was requested.",
            ),
            preserve_default=False,
        ),
        migrations.RemoveConstraint(model_name="backfillspan", name="backfill_span_once"),
        migrations.AddConstraint(
            model_name="backfillspan",
            constraint=models.UniqueConstraint(
                condition=models.Q(("refusal", "")),
                fields=("market", "kind", "start", "end"),
                name="backfill_span_once",
            ),
        ),
        migrations.AddConstraint(
            model_name="backfillspan",
            constraint=models.UniqueConstraint(
                condition=models.Q(("refusal", ""), _negated=True),
                fields=("market", "kind", "start", "end"),
                name="backfill_refusal_once",
            ),
        ),
    ]
