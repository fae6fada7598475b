"""The size of every table, measured by maintenance. The new table is empty at first."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("markets", "0017_payload_blocks")]

    operations = [
        migrations.CreateModel(
            name="DiskUsage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("measured_at", models.DateTimeField()),
                (
                    "sizes",
                    models.JSONField(help_text="Bytes by table, with its partitions and indexes."),
                ),
                (
                    "grown",
                    models.JSONField(
                        help_text="Bytes by table that were added since measuring began."
                    ),
                ),
                (
                    "free_bytes",
                    models.BigIntegerField(
                        blank=True,
                        help_text="Of the database's disk; null: not known here.",
                        null=True,
                    ),
                ),
            ],
            options={"verbose_name_plural": "disk usage", "ordering": ["-measured_at"]},
        ),
    ]
