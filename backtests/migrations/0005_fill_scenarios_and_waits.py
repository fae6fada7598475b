from django.db import migrations, models

RENAME = """
    UPDATE backtests_backtestresult SET band = jsonb_build_object(
        '{new[0]}', band->'{old[0]}', 'expected', band->'expected', '{new[1]}', band->'{old[1]}')
    WHERE jsonb_exists(band, '{old[0]}')
"""
BEFORE, SINCE = ("pessimistic", "optimistic"), ("fewest", "most")


class Migration(migrations.Migration):
    dependencies = [
        ("backtests", "0004_permission_to_run_backtests"),
    ]

    operations = [
        migrations.RunSQL(
            RENAME.format(old=BEFORE, new=SINCE), RENAME.format(old=SINCE, new=BEFORE)
        ),
        migrations.AlterField(
            model_name="backtestresult",
            name="band",
            field=models.JSONField(
                blank=True, default=dict, help_text="The same figures in each fill scenario."
            ),
        ),
        migrations.AddField(
            model_name="backtestexecution",
            name="waited",
            field=models.DecimalField(
                blank=True,
                decimal_places=6,
                help_text="Seconds from an order's arrival to the observation that it met.",
                max_digits=18,
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="backtestexecution",
            name="across_gap",
            field=models.BooleanField(
                help_text="For a fill: its order was sent before a gap in the observations.",
                null=True,
            ),
        ),
    ]
