"""Raw payloads in compressed blocks, which are deleted by the hour, instead of a row each.

The payloads that are kept at the time of the update go with their table: they were kept for hours
anyway, and nothing is computed from them. Dropping its partitions takes a moment, however large
they are, and nothing of any other table is read or rewritten.
"""

from django.db import migrations, models

# The content is compressed already, so that trying it once more would cost time alone. What is
# deleted every ten minutes should soon be room for what comes, and a file that is given back to the
# system at its end would only grow again.
STORE = """
    ALTER TABLE markets_payloadblock ALTER COLUMN content SET STORAGE EXTERNAL;
    ALTER TABLE markets_payloadblock SET (
        vacuum_truncate = false, toast.vacuum_truncate = false,
        autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.05
    );
"""


class Migration(migrations.Migration):
    dependencies = [("markets", "0016_listed_markets")]

    operations = [
        migrations.CreateModel(
            name="PayloadBlock",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "first_at",
                    models.DateTimeField(
                        help_text="The first instant at which one of them arrived."
                    ),
                ),
                (
                    "last_at",
                    models.DateTimeField(db_index=True, help_text="The last such instant."),
                ),
                ("payloads", models.PositiveIntegerField(help_text="Their number.")),
                ("content", models.BinaryField(help_text="See `unpack`.")),
            ],
            options={"verbose_name_plural": "raw payloads", "ordering": ["-last_at", "-id"]},
        ),
        migrations.RunSQL(STORE, migrations.RunSQL.noop),
        migrations.DeleteModel(name="RawPayload"),
    ]
