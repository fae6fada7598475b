from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    """Remember where a sweep narrows a page down, and index what is asked for again.

    The columns have constant defaults, so no table is rewritten. The index is built from the
    markets alone: about a second for a million of them, in which the recorder has to wait.
    """

    dependencies = [("markets", "0013_refused_records")]

    operations = [
        migrations.AddField(
            model_name="sweep",
            name="page_size",
            field=models.IntegerField(
                blank=True,
                help_text="After a page that failed: how many items the next one asks for.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="sweep",
            name="by_market",
            field=models.BooleanField(
                default=False,
                help_text=(
                    "The events could not be listed to their end: the markets themselves were."
                ),
            ),
        ),
        migrations.AddIndex(
            model_name="market",
            index=models.Index(
                fields=["id"], condition=~Q(status="finalized"), name="market_not_final"
            ),
        ),
    ]
