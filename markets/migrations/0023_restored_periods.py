"""Tell the imported periods that came with a restored day from those that were stated here.

For the periods on record it is what was assumed until now: those that were recorded before one of
their days was restored came with it.
"""

from django.db import migrations, models

ASSUME = """
    UPDATE markets_importedperiod AS period SET restored_at = (
        SELECT min(archived.restored_at) FROM markets_archivedday AS archived
        WHERE archived."table" = 'markets_importedperiod'
            AND archived.restored_at >= period.recorded_at
            AND archived.day BETWEEN (period.starts_at AT TIME ZONE 'UTC')::date
                AND (period.ends_at AT TIME ZONE 'UTC')::date
    )
"""


class Migration(migrations.Migration):
    dependencies = [("markets", "0022_imported_periods")]

    operations = [
        migrations.AddField(
            model_name="importedperiod",
            name="restored_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When it came with an archived day; null: stated in this database.",
                null=True,
            ),
        ),
        migrations.RunSQL(ASSUME, migrations.RunSQL.noop),
    ]
