"""Searches of parameters, their points and chunks. Only new tables are created."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("backtests", "0008_named_imports"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Search",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("strategy", models.CharField(max_length=100)),
                ("strategy_version", models.CharField(max_length=50)),
                ("params", models.JSONField(blank=True, default=dict)),
                (
                    "series",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), blank=True, default=list, size=None
                    ),
                ),
                (
                    "events",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), blank=True, default=list, size=None
                    ),
                ),
                (
                    "tickers",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), blank=True, default=list, size=None
                    ),
                ),
                (
                    "sources",
                    models.CharField(
                        choices=[
                            ("best", "Recorded live, else imported, else backfilled"),
                            ("recorded", "Recorded live only"),
                            ("backfilled", "Backfilled only"),
                            ("imported", "Of the named imports only"),
                        ],
                        default="best",
                        max_length=10,
                    ),
                ),
                (
                    "imports",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(),
                        blank=True,
                        default=list,
                        help_text="The imports whose rows the run reads; no others are read.",
                        size=None,
                    ),
                ),
                ("start", models.DateTimeField()),
                ("end", models.DateTimeField(help_text="The run ends before this instant.")),
                ("cash", models.DecimalField(decimal_places=6, max_digits=18)),
                (
                    "engine",
                    models.CharField(
                        choices=[("kernel", "Kernel"), ("backtrader", "Backtrader")], max_length=10
                    ),
                ),
                (
                    "execution",
                    models.JSONField(
                        help_text="The execution model; see `rules.execution.ExecutionModel`."
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(help_text="The run uses nothing that was recorded later."),
                ),
                (
                    "varied",
                    models.JSONField(help_text="The values to try of each parameter, by its name."),
                ),
                (
                    "runs",
                    models.IntegerField(
                        blank=True,
                        help_text="So many combinations were chosen at random; without it, all of them.",
                        null=True,
                    ),
                ),
                (
                    "seed",
                    models.BigIntegerField(default=0, help_text="The seed of the random choice."),
                ),
                (
                    "folds",
                    models.IntegerField(
                        default=0, help_text="The folds of a walk-forward; 0 for none."
                    ),
                ),
                (
                    "embargo_hours",
                    models.FloatField(
                        default=0,
                        help_text="Markets that were over so shortly before a fold train nothing for it.",
                    ),
                ),
                ("points_count", models.IntegerField(help_text="The number of points.")),
                ("strategy_file", models.CharField(blank=True, max_length=200)),
                (
                    "strategy_files",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="The text of every file of a strategy of one's own, by name. It is what runs.",
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "Queued"),
                            ("running", "Running"),
                            ("done", "Done"),
                            ("failed", "Failed"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="queued",
                        max_length=10,
                    ),
                ),
                ("claimed_at", models.DateTimeField(blank=True, null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "error",
                    models.TextField(
                        blank=True, help_text="The reason for a failure, in words for the user."
                    ),
                ),
                ("code_fingerprint", models.JSONField(blank=True, default=dict)),
                ("data_fingerprint", models.JSONField(blank=True, default=dict)),
                ("snapshots", models.IntegerField(blank=True, null=True)),
                ("markets", models.IntegerField(blank=True, null=True)),
                (
                    "plan",
                    models.JSONField(
                        blank=True,
                        default=dict,
                        help_text="The instants of the periods, and the folds.",
                    ),
                ),
                (
                    "figures",
                    models.JSONField(
                        blank=True, default=dict, help_text="The best point, and the walk-forward."
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="searches",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "searches",
                "ordering": ["-created_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="SearchChunk",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.IntegerField()),
                ("first", models.IntegerField(help_text="The number of its first point.")),
                ("size", models.IntegerField(help_text="The number of its points.")),
                (
                    "status",
                    models.CharField(
                        choices=[("queued", "Queued"), ("running", "Running"), ("done", "Done")],
                        default="queued",
                        max_length=10,
                    ),
                ),
                ("token", models.UUIDField(blank=True, editable=False, null=True)),
                ("attempts", models.IntegerField(default=0)),
                ("claimed_at", models.DateTimeField(blank=True, null=True)),
                ("heartbeat_at", models.DateTimeField(blank=True, null=True)),
                ("progress", models.FloatField(default=0)),
                (
                    "search",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="chunks",
                        to="backtests.search",
                    ),
                ),
            ],
            options={
                "ordering": ["search", "number"],
            },
        ),
        migrations.CreateModel(
            name="SearchPoint",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.IntegerField(help_text="The place in the search, from 1 on.")),
                ("params", models.JSONField(help_text="The values of the varied parameters.")),
                ("error", models.TextField(blank=True)),
                ("pnl", models.BigIntegerField(blank=True, null=True)),
                (
                    "test_pnl",
                    models.BigIntegerField(
                        blank=True, help_text="The sum over the tests of all folds.", null=True
                    ),
                ),
                ("fees", models.BigIntegerField(blank=True, null=True)),
                ("fills", models.IntegerField(blank=True, null=True)),
                (
                    "events",
                    models.IntegerField(
                        blank=True, help_text="The number of events that it traded in.", null=True
                    ),
                ),
                (
                    "won",
                    models.IntegerField(
                        blank=True,
                        help_text="The number of those in which it gained.",
                        null=True,
                    ),
                ),
                (
                    "days",
                    models.IntegerField(
                        blank=True, help_text="The number of daily returns.", null=True
                    ),
                ),
                (
                    "sharpe",
                    models.FloatField(
                        blank=True,
                        help_text="The Sharpe ratio of daily returns, for a day.",
                        null=True,
                    ),
                ),
                ("skewness", models.FloatField(blank=True, null=True)),
                ("kurtosis", models.FloatField(blank=True, null=True)),
                (
                    "folds",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="The P&L on the markets of each fold: train and test.",
                    ),
                ),
                (
                    "changes",
                    models.BinaryField(
                        blank=True,
                        help_text="The change of equity in each period, as 64-bit integers.",
                        null=True,
                    ),
                ),
                (
                    "fold_changes",
                    models.BinaryField(
                        blank=True,
                        help_text="The same on the test markets of each fold, one by one.",
                        null=True,
                    ),
                ),
                (
                    "search",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="points",
                        to="backtests.search",
                    ),
                ),
            ],
            options={
                "ordering": ["search", "number"],
            },
        ),
        migrations.AddIndex(
            model_name="search",
            index=models.Index(
                models.OrderBy(models.F("created_at"), descending=True),
                models.OrderBy(models.F("id"), descending=True),
                name="search_newest",
            ),
        ),
        migrations.AddIndex(
            model_name="search",
            index=models.Index(
                condition=models.Q(("status__in", ["queued", "running"])),
                fields=["status"],
                name="search_unfinished",
            ),
        ),
        migrations.AddConstraint(
            model_name="search",
            constraint=models.CheckConstraint(
                condition=models.Q(("cash__gt", 0)), name="search_has_cash"
            ),
        ),
        migrations.AddConstraint(
            model_name="search",
            constraint=models.CheckConstraint(
                condition=models.Q(("start__lt", models.F("end"))), name="search_has_a_window"
            ),
        ),
        migrations.AddConstraint(
            model_name="search",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ["queued", "running", "done", "failed", "cancelled"])
                ),
                name="search_status_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="search",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("status__in", ["queued", "running"]),
                    ("finished_at__isnull", False),
                    _connector="XOR",
                ),
                name="search_finished_has_an_end",
            ),
        ),
        migrations.AddConstraint(
            model_name="search",
            constraint=models.CheckConstraint(
                condition=models.Q(("status", "failed"), ("error", ""), _connector="XOR"),
                name="search_failed_says_why",
            ),
        ),
        migrations.AddConstraint(
            model_name="searchchunk",
            constraint=models.UniqueConstraint(
                fields=("search", "number"), name="search_chunk_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="searchchunk",
            constraint=models.CheckConstraint(
                condition=models.Q(("status", "running"), ("token", None), _connector="XOR"),
                name="search_chunk_held_while_running",
            ),
        ),
        migrations.AddConstraint(
            model_name="searchpoint",
            constraint=models.UniqueConstraint(
                fields=("search", "number"), name="search_point_once"
            ),
        ),
    ]
