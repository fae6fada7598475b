"""Trials: every run whose result was computed, so that the best of many is known for what it is."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from django.db import models
from django.db.models import F, Q, Variance
from django.db.models.functions import Sqrt

from backtests.data.universe import Ints
from backtests.metrics.deflation import LEAST_COMPARED, FamilyTrials
from backtests.metrics.figures import BILL_RATE
from backtests.metrics.ratios import excess_returns
from backtests.metrics.sharpe import SharpeSample

BATCH = 1_000


class TrialRow(NamedTuple):
    """A trial to record: `universe` and `code` are the hashes (`hash_of`) of the fingerprints.

    The moments are those of the `periods` daily excess returns; None where these did not vary.
    """

    strategy: str
    parameters: Mapping[str, Any]
    universe: str
    code: str
    periods: int
    sharpe: float | None
    skewness: float | None
    kurtosis: float | None

    @classmethod
    def of_equity(
        cls,
        strategy: str,
        parameters: Mapping[str, Any],
        daily: Ints,
        fingerprints: Mapping[str, Any],
    ) -> Self:
        """The trial with this daily equity, also where it is too short for annual figures.

        `fingerprints` has those of data and code under `data_fingerprint`, `code_fingerprint`.
        """
        excess = excess_returns(daily, rate=BILL_RATE)
        sample = None if excess is None else SharpeSample.of(excess)
        return cls(
            strategy=strategy,
            parameters=dict(parameters),
            universe=hash_of(fingerprints["data_fingerprint"]),
            code=hash_of(fingerprints["code_fingerprint"]),
            periods=len(daily) - 1,
            sharpe=None if sample is None else sample.sharpe,
            skewness=None if sample is None else sample.skewness,
            kurtosis=None if sample is None else sample.kurtosis,
        )


class TrialQuerySet(models.QuerySet["Trial"]):
    def record_all(self, rows: Iterable[TrialRow]) -> None:
        """Record trials that were made now."""
        now = datetime.now(UTC)
        trials = (
            self.model(made_at=now, parameters_hash=hash_of(row.parameters), **row._asdict())
            for row in rows
        )
        self.bulk_create(trials, batch_size=BATCH)

    def of_family(self, strategy: str) -> Self:
        """The trials of a strategy of this name, whatever its version."""
        return self.filter(strategy=strategy)

    def family(self, strategy: str) -> FamilyTrials:
        """Count the trials of a strategy, with the spread of those that differ.

        A run that was only repeated counts, but does not make the spread smaller.
        """
        every = self.of_family(strategy)
        compared = every.filter(sharpe__isnull=False, periods__gte=LEAST_COMPARED)
        names = ("parameters_hash", "universe", "periods", "sharpe")
        distinct = compared.order_by().values(*names).distinct()
        scored = distinct.annotate(score=F("sharpe") * Sqrt(F("periods") - 1.0))
        found = scored.aggregate(spread=Variance("score", sample=True))
        return FamilyTrials(every.count(), found["spread"])


class Trial(models.Model):
    """One trial of a strategy: its input, and how its daily returns came out.

    It belongs to no run, since it stays when its run is deleted and some runs are never stored.
    """

    strategy = models.CharField(max_length=100)
    made_at = models.DateTimeField()
    parameters = models.JSONField()
    parameters_hash = models.CharField(max_length=64)
    universe = models.CharField(max_length=64, help_text="SHA-256 of the input data.")
    code = models.CharField(max_length=64, help_text="SHA-256 of the code.")
    periods = models.IntegerField(help_text="The number of daily returns.")
    sharpe = models.FloatField(
        null=True, help_text="The Sharpe ratio of a day; null where returns did not vary."
    )
    skewness = models.FloatField(null=True)
    kurtosis = models.FloatField(null=True)

    objects = TrialQuerySet.as_manager()

    class Meta:
        ordering = ["-made_at", "-id"]
        indexes = [models.Index(fields=["strategy"], name="trial_strategy")]
        constraints = [
            models.CheckConstraint(condition=Q(periods__gte=0), name="trial_periods_counted"),
        ]

    def __str__(self) -> str:
        return f"{self.strategy} {self.pk}"


def hash_of(named: Mapping[str, Any]) -> str:
    """SHA-256 of parameters or of a fingerprint, whatever the order of their names."""
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()
