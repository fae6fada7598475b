"""The instant of a run's first quotes, at which an outage before it ends.

The column is added without rewriting the table; runs of older versions keep their start for it.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("markets", "0014_unfinished_markets"),
    ]

    operations = [
        migrations.AddField(
            model_name="poll",
            name="observed_from",
            field=models.DateTimeField(
                blank=True, help_text="When the run received its first quotes.", null=True
            ),
        ),
    ]
