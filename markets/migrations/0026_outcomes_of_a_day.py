"""An index by which the archive finds the markets that were settled on a day.

Building it reads all markets once, some seconds a million, while the recorder waits.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("markets", "0025_imported_books")]

    operations = [
        migrations.AddIndex(
            model_name="market",
            index=models.Index(
                condition=models.Q(("settlement_ts__isnull", False)),
                fields=["settlement_ts"],
                name="market_settlement_ts",
            ),
        ),
    ]
