"""The time without an observation before each run, noted with the run.

Outages are read from the few runs that came late. The update rewrites `markets_poll`, which has
17,280 rows for each day of recording: about ten seconds for each month. No snapshot is touched.
"""

from datetime import timedelta

from django.db import migrations, models

MEASURE = """
    UPDATE markets_poll AS poll SET since_last = began - last FROM (
        SELECT id, started_at AS began, max(finished_at) OVER (
            ORDER BY started_at ROWS BETWEEN 10 PRECEDING AND 1 PRECEDING) AS last
        FROM markets_poll
        WHERE finished_at IS NOT NULL AND (error = '' OR markets > 0
            AND error !~ '^[^a-z]|the token bucket cannot be asked')
    ) AS runs WHERE runs.id = poll.id
"""


class Migration(migrations.Migration):
    dependencies = [("markets", "0009_clock_skew")]

    operations = [
        migrations.AddField(
            model_name="poll",
            name="since_last",
            field=models.DurationField(
                blank=True,
                help_text="For a run that observed anything: time since the last such run ended.",
                null=True,
            ),
        ),
        migrations.RunSQL(MEASURE, migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name="poll",
            index=models.Index(
                condition=models.Q(
                    ("since_last", None),
                    ("since_last__gt", timedelta(seconds=10)),
                    _connector="OR",
                ),
                fields=["started_at"],
                name="poll_late",
            ),
        ),
    ]
