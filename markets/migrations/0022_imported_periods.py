"""The periods that imports state of their rows. The new table is empty at first."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("markets", "0021_tape_scopes")]

    operations = [
        migrations.CreateModel(
            name="ImportedPeriod",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("starts_at", models.DateTimeField(help_text="The first row.")),
                ("ends_at", models.DateTimeField(help_text="The last row, included.")),
                (
                    "gap_after",
                    models.PositiveIntegerField(
                        help_text="Seconds: a row counts as fresh for three times as long."
                    ),
                ),
                ("recorded_at", models.DateTimeField()),
                (
                    "market",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="imported_periods",
                        to="markets.market",
                    ),
                ),
            ],
            options={
                "ordering": ["-id"],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("market", "starts_at", "ends_at", "recorded_at"),
                        name="imported_period_once",
                    )
                ],
            },
        ),
    ]
