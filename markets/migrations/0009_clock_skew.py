"""Runs of the recorder note how far our clock is from the exchange's.

A column of the runs, null in those on record: no row is rewritten.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("markets", "0008_exact_numbers_and_unknown_times"),
    ]

    operations = [
        migrations.AddField(
            model_name="poll",
            name="clock_skew",
            field=models.DurationField(
                blank=True,
                help_text="By how much our clock was ahead of the exchange's; negative where behind.",
                null=True,
            ),
        ),
    ]
