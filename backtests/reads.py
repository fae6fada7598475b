"""What is read of many runs at once."""

from decimal import Decimal

from django.db.models import DecimalField, QuerySet
from django.db.models.fields.json import KT
from django.db.models.functions import Cast

from backtests.data.universe import MONEY
from backtests.models import BacktestResult

DOLLARS: "DecimalField[Decimal, Decimal]" = DecimalField(max_digits=24, decimal_places=6)
# Of the headline's figures, which count in millionths: open positions are counted, at their marks.
GAINED = Cast(Cast(KT("figures__money__pnl"), DOLLARS) / MONEY, DOLLARS)


def with_gain(runs: QuerySet[BacktestResult]) -> QuerySet[BacktestResult]:
    return runs.annotate(gained=GAINED)
