"""Trials of strategies. Every result that is stored counts as one that was made before."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import migrations, models

CHUNK = 500
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
YEAR = 365


def count_results(apps: Any, schema_editor: Any) -> None:
    """Record a trial for each stored result, without the moments that it did not keep."""
    results = apps.get_model("backtests", "BacktestResult").objects
    trials = apps.get_model("backtests", "Trial").objects
    names = (
        "strategy", "params", "start", "finished_at", "data_fingerprint", "code_fingerprint",
        "figures__days", "figures__ratios__sharpe",
    )  # fmt: skip
    waiting = []
    done = results.filter(status="done").order_by("id").values(*names)
    for result in done.iterator(chunk_size=CHUNK):
        waiting.append(trials.model(**trial_columns(result)))
        if len(waiting) == CHUNK:
            trials.bulk_create(waiting)
            waiting = []
    trials.bulk_create(waiting)


def trial_columns(result: Mapping[str, Any]) -> dict[str, Any]:
    sharpe = result["figures__ratios__sharpe"]
    return {
        "strategy": result["strategy"],
        "made_at": result["finished_at"],
        "parameters": result["params"],
        "parameters_hash": hash_of(result["params"]),
        "universe": hash_of(result["data_fingerprint"]),
        "code": hash_of(result["code_fingerprint"]),
        "periods": periods(result["start"], result["figures__days"] or 0),
        "sharpe": None if sharpe is None else sharpe / YEAR**0.5,
    }


def periods(start: datetime, days: float) -> int:
    """Count the daily returns of a run: its midnights in UTC, and its end."""
    end = start + timedelta(days=days)
    midnights = -((EPOCH - end) // DAY) - 1 - (start - EPOCH) // DAY
    return max(0, midnights) + 1


def hash_of(named: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


class Migration(migrations.Migration):
    dependencies = [
        ("backtests", "0009_searches"),
    ]

    operations = [
        migrations.CreateModel(
            name="Trial",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("strategy", models.CharField(max_length=100)),
                ("made_at", models.DateTimeField()),
                ("parameters", models.JSONField()),
                ("parameters_hash", models.CharField(max_length=64)),
                (
                    "universe",
                    models.CharField(help_text="SHA-256 of the input data.", max_length=64),
                ),
                ("code", models.CharField(help_text="SHA-256 of the code.", max_length=64)),
                ("periods", models.IntegerField(help_text="The number of daily returns.")),
                (
                    "sharpe",
                    models.FloatField(
                        help_text="The Sharpe ratio of a day; null where returns did not vary.",
                        null=True,
                    ),
                ),
                ("skewness", models.FloatField(null=True)),
                ("kurtosis", models.FloatField(null=True)),
            ],
            options={
                "ordering": ["-made_at", "-id"],
                "indexes": [models.Index(fields=["strategy"], name="trial_strategy")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("periods__gte", 0)), name="trial_periods_counted"
                    )
                ],
            },
        ),
        migrations.RunPython(count_results, migrations.RunPython.noop),
    ]
