from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("markets", "0026_outcomes_of_a_day")]

    operations = [
        migrations.AlterField(
            model_name="backfillspan",
            name="kind",
            field=models.CharField(
                max_length=20,
                help_text="Trades, candles with their minutes, or a window before an anchor.",
            ),
        ),
    ]
