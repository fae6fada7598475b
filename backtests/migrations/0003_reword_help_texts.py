from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("backtests", "0002_lookahead"),
    ]

    operations = [
        migrations.AlterField(
            model_name="backtestexecution",
            name="book_side",
            field=models.CharField(
                help_text="bid for buying YES, ask for buying NO.", max_length=3
            ),
        ),
        migrations.AlterField(
            model_name="backtestexecution",
            name="cash_change",
            field=models.DecimalField(
                decimal_places=6, help_text="The change of cash, fee included.", max_digits=18
            ),
        ),
        migrations.AlterField(
            model_name="backtestexecution",
            name="liquidity",
            field=models.CharField(
                blank=True, help_text="maker or taker; fills only.", max_length=5
            ),
        ),
        migrations.AlterField(
            model_name="backtestexecution",
            name="order",
            field=models.IntegerField(blank=True, help_text="Empty for a settlement.", null=True),
        ),
        migrations.AlterField(
            model_name="backtestexecution",
            name="position",
            field=models.DecimalField(
                decimal_places=2, help_text="Positive for YES, negative for NO.", max_digits=18
            ),
        ),
        migrations.AlterField(
            model_name="backtestexecution",
            name="price",
            field=models.DecimalField(
                blank=True,
                decimal_places=4,
                help_text="Empty for a settlement. A refused order can have any price.",
                max_digits=18,
                null=True,
            ),
        ),
        migrations.AlterField(
            model_name="backtestresult",
            name="band",
            field=models.JSONField(
                blank=True, default=dict, help_text="The same figures under each fill model."
            ),
        ),
        migrations.AlterField(
            model_name="backtestresult",
            name="check_lookahead",
            field=models.BooleanField(
                default=False, help_text="Also check the strategy for look-ahead bias."
            ),
        ),
        migrations.AlterField(
            model_name="backtestresult",
            name="code_fingerprint",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="SHA-256 of the code, and the versions of the libraries.",
            ),
        ),
        migrations.AlterField(
            model_name="backtestresult",
            name="created_at",
            field=models.DateTimeField(help_text="The run uses nothing that was recorded later."),
        ),
        migrations.AlterField(
            model_name="backtestresult",
            name="data_fingerprint",
            field=models.JSONField(
                blank=True, default=dict, help_text="SHA-256 of the input data."
            ),
        ),
        migrations.AlterField(
            model_name="backtestresult",
            name="end",
            field=models.DateTimeField(help_text="The run ends before this instant."),
        ),
        migrations.AlterField(
            model_name="backtestresult",
            name="error",
            field=models.TextField(
                blank=True, help_text="The reason for a failure, in words for the user."
            ),
        ),
        migrations.AlterField(
            model_name="backtestresult",
            name="execution",
            field=models.JSONField(
                help_text="The execution model; see `rules.execution.ExecutionModel`."
            ),
        ),
        migrations.AlterField(
            model_name="backtestresult",
            name="fees",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="The kind of account, and the rounding of its fees.",
            ),
        ),
        migrations.AlterField(
            model_name="backtestresult",
            name="lookahead",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text="The result of the look-ahead check, if requested.",
            ),
        ),
        migrations.AlterField(
            model_name="backtestresult",
            name="sources",
            field=models.CharField(
                choices=[
                    ("best", "Recorded live, else backfilled"),
                    ("recorded", "Recorded live only"),
                    ("backfilled", "Backfilled only"),
                ],
                default="best",
                max_length=10,
            ),
        ),
        migrations.AlterField(
            model_name="backtestresult",
            name="yardsticks",
            field=models.JSONField(
                blank=True, default=dict, help_text="The same figures of the yardstick strategies."
            ),
        ),
    ]
