"""The imports that a run names. The new column is empty and rewrites nothing."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("backtests", "0007_annotations"),
    ]

    operations = [
        migrations.AddField(
            model_name="backtestresult",
            name="imports",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.BigIntegerField(),
                blank=True,
                default=list,
                help_text="The imports whose rows the run reads; no others are read.",
                size=None,
            ),
        ),
        migrations.AlterField(
            model_name="backtestresult",
            name="sources",
            field=models.CharField(
                choices=[
                    ("best", "Recorded live, else imported, else backfilled"),
                    ("recorded", "Recorded live only"),
                    ("backfilled", "Backfilled only"),
                    ("imported", "Of the named imports only"),
                ],
                default="best",
                max_length=10,
            ),
        ),
    ]
