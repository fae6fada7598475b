"""The contents of each page of a sweep. The columns are added without rewriting the table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("markets", "0018_disk_usage")]

    operations = [
        migrations.AddField(
            model_name="sweep",
            name="contents",
            field=models.BinaryField(
                help_text=(
                    "The names on each page (see `markets.pages.contents`); null: not known."
                ),
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="sweep",
            name="based_on",
            field=models.DateTimeField(
                blank=True,
                help_text=(
                    "The start of the sweep that the contents are the difference from, the same"
                    " as it if they are empty; null: from none."
                ),
                null=True,
            ),
        ),
    ]
