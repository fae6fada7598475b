import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("markets", "0027_kinds_of_backfill_spans"),
    ]

    operations = [
        migrations.CreateModel(
            name="PastPrice",
            fields=[
                (
                    "market",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="past",
                        serialize=False,
                        to="markets.listedmarket",
                    ),
                ),
                ("hour_ago", models.IntegerField(null=True)),
                ("day_ago", models.IntegerField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="MarketHour",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "hour",
                        "market_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("hour", models.DateTimeField()),
                ("first", models.IntegerField()),
                ("last", models.IntegerField()),
                ("low", models.IntegerField()),
                ("high", models.IntegerField()),
                (
                    "market",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="markets.market",
                    ),
                ),
            ],
        ),
    ]
