"""The lateness of each whole pass, noted with it: coverage reads a day's few late ones."""

from datetime import timedelta

from django.db import migrations, models

MEASURE = """
    UPDATE markets_sweep AS sweep SET since_last = began - before FROM (
        SELECT id, started_at AS began,
            lag(started_at) OVER (PARTITION BY tier ORDER BY started_at) AS before
        FROM markets_sweep WHERE complete AND skipped = '{}'
    ) AS passes WHERE passes.id = sweep.id
"""


class Migration(migrations.Migration):
    dependencies = [("markets", "0004_daily_pieces")]

    operations = [
        migrations.RemoveIndex(model_name="sweep", name="sweep_whole"),
        migrations.AddField(
            model_name="sweep",
            name="since_last",
            field=models.DurationField(
                blank=True,
                help_text="Of a whole pass: since the whole one before it began.",
                null=True,
            ),
        ),
        migrations.RunSQL(MEASURE, migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name="sweep",
            index=models.Index(
                condition=models.Q(("complete", True), ("skipped", [])),
                fields=["tier", "started_at"],
                include=("since_last",),
                name="sweep_whole",
            ),
        ),
        migrations.AddIndex(
            model_name="sweep",
            index=models.Index(
                condition=models.Q(
                    ("complete", True),
                    ("skipped", []),
                    models.Q(
                        ("since_last", None),
                        ("since_last__gt", timedelta(seconds=10)),
                        _connector="OR",
                    ),
                ),
                fields=["tier", "started_at"],
                include=("since_last",),
                name="sweep_late",
            ),
        ),
    ]
