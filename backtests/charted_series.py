"""The series in the charts of a run's markets."""

from collections.abc import Iterable
from typing import Any, NamedTuple, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models

from backtests.annotations.checks import MOST_NAME_CHARACTERS
from backtests.annotations.series import ASK, BID, MOST_POINTS, DrawnSeries
from kalshi_insights.arrays import np


class Contents(NamedTuple):
    """The markets of a run that have series, and the names of these, in the order of drawing."""

    tickers: list[str]
    names: list[str]
    are_thinned: bool
    most_points: int = MOST_POINTS


class ChartedSeriesQuerySet(models.QuerySet["ChartedSeries"]):
    def store(self, result_id: int, drawn: Iterable[tuple[str, DrawnSeries]]) -> None:
        """Store the series of a run, each with its ticker, in the order in which it has them."""
        self.bulk_create(
            ChartedSeries(
                result_id=result_id,
                number=number,
                ticker=ticker,
                name=series.name,
                at=series.at.tolist(),
                values=[None if np.isnan(each) else each for each in series.values.tolist()],
                is_thinned=series.is_thinned,
            )
            for number, (ticker, series) in enumerate(drawn, start=1)
        )

    def of_result(self, result_id: int) -> Self:
        return self.filter(result=result_id).order_by("number")

    def contents(self) -> Contents:
        """The markets and the names of the series, but for the sides of the book."""
        found = list(self.values_list("ticker", "name", "is_thinned"))
        own = dict.fromkeys(name for _, name, _ in found if name not in (BID, ASK))
        tickers = dict.fromkeys(ticker for ticker, _, _ in found)
        return Contents(list(tickers), list(own), any(thin for _, _, thin in found))


class ChartedSeries(models.Model):
    """One series in one market of a run: each value stands from its instant on, null is none."""

    result: "models.ForeignKey[Any, Any]" = models.ForeignKey(
        "backtests.BacktestResult",
        on_delete=models.CASCADE,
        related_name="charted_series",
        db_index=False,  # `charted_series_once` begins with the result
    )
    number = models.IntegerField(help_text="The place among the series of the run, from 1 on.")
    ticker = models.CharField(max_length=200)
    name = models.CharField(max_length=MOST_NAME_CHARACTERS)
    at = ArrayField(models.BigIntegerField(), help_text="Microseconds since 1970, UTC.")
    values = ArrayField(models.FloatField(null=True))
    is_thinned = models.BooleanField(help_text="Whether points were left out.")

    objects = ChartedSeriesQuerySet.as_manager()

    class Meta:
        ordering = ["result", "number"]
        constraints = [
            models.UniqueConstraint(fields=["result", "number"], name="charted_series_once")
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.ticker} in {self.result_id}"
