"""The columns of a request, which a run and a search have in common."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


class Engine(models.TextChoices):
    KERNEL = "kernel"
    BACKTRADER = "backtrader"


class SnapshotSources(models.TextChoices):
    """The snapshots that a run reads; see `loading`."""

    BEST = "best", "Recorded live, else imported, else backfilled"
    RECORDED = "recorded", "Recorded live only"
    BACKFILLED = "backfilled", "Backfilled only"
    IMPORTED = "imported", "Of the named imports only"


class RequestedRun(models.Model):
    """A strategy with its parameters, its markets and window, and the rules for its orders."""

    strategy = models.CharField(max_length=100)
    strategy_version = models.CharField(max_length=50)
    params = models.JSONField(default=dict, blank=True)
    series = ArrayField(models.TextField(), default=list, blank=True)
    events = ArrayField(models.TextField(), default=list, blank=True)
    tickers = ArrayField(models.TextField(), default=list, blank=True)
    sources = models.CharField(max_length=10, choices=SnapshotSources, default=SnapshotSources.BEST)
    imports = ArrayField(
        models.BigIntegerField(),
        default=list,
        blank=True,
        help_text="The imports whose rows the run reads; no others are read.",
    )
    start = models.DateTimeField()
    end = models.DateTimeField(help_text="The run ends before this instant.")
    cash = models.DecimalField(max_digits=18, decimal_places=6)
    engine = models.CharField(max_length=10, choices=Engine)
    execution = models.JSONField(
        help_text="The execution model; see `rules.execution.ExecutionModel`."
    )
    created_at = models.DateTimeField(help_text="The run uses nothing that was recorded later.")

    class Meta:
        abstract = True
