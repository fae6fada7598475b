"""The journals of backtest runs: every order and fill."""

from typing import Self

from django.db import models
from django.db.models import Q

from backtests.annotations.reasons import MOST_CHARACTERS
from backtests.models.results import BacktestResult
from markets.models.fields import count_field, price_field, within_unit


class ExecutionKind(models.TextChoices):
    ORDER = "order"
    FILL = "fill"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    SETTLED = "settled"


class BacktestExecutionQuerySet(models.QuerySet["BacktestExecution"]):
    def for_result(self, result: BacktestResult) -> Self:
        return self.filter(result=result).order_by("number")

    def of_kind(self, kind: str) -> Self:
        return self.filter(kind=kind)


class BacktestExecution(models.Model):
    """One entry of a run's journal, with the quote behind it.

    Everything is copied, so that later changes of markets and snapshots leave the audit trail as
    it is. Prices are on the YES scale: buying NO is selling YES. `cash` and `position` are those
    after the entry.
    """

    result = models.ForeignKey(
        BacktestResult,
        on_delete=models.CASCADE,
        related_name="executions",
        db_index=False,  # `backtest_execution_once` begins with the result
    )
    number = models.IntegerField()
    at = models.DateTimeField()
    kind = models.CharField(max_length=10, choices=ExecutionKind)
    ticker = models.CharField(max_length=200)
    order = models.IntegerField(null=True, blank=True, help_text="Empty for a settlement.")
    outcome_side = models.CharField(max_length=3, help_text="yes or no.")
    book_side = models.CharField(max_length=3, help_text="bid for buying YES, ask for buying NO.")
    count = models.DecimalField(max_digits=18, decimal_places=2)
    price = models.DecimalField(
        max_digits=18,
        decimal_places=4,
        null=True,
        blank=True,
        help_text="Empty for a settlement. A refused order can have any price.",
    )
    settlement_value = models.DecimalField(max_digits=7, decimal_places=6, null=True, blank=True)
    fee = models.DecimalField(max_digits=18, decimal_places=6)
    liquidity = models.CharField(max_length=5, blank=True, help_text="maker or taker; fills only.")
    reason = models.TextField(blank=True)
    cash_change = models.DecimalField(
        max_digits=18, decimal_places=6, help_text="The change of cash, fee included."
    )
    cash = models.DecimalField(max_digits=18, decimal_places=6)
    position = models.DecimalField(
        max_digits=18, decimal_places=2, help_text="Positive for YES, negative for NO."
    )
    quote_at = models.DateTimeField(null=True, blank=True)
    yes_bid = price_field()
    yes_ask = price_field()
    yes_bid_size = count_field()
    yes_ask_size = count_field()
    waited = models.DecimalField(
        max_digits=18,
        decimal_places=6,
        null=True,
        blank=True,
        help_text="Seconds from an order's arrival to the observation that it met.",
    )
    across_gap = models.BooleanField(
        null=True, help_text="For a fill: its order was sent before a gap in the observations."
    )
    stated_reason = models.CharField(
        max_length=MOST_CHARACTERS,
        blank=True,
        default="",
        help_text="The strategy's own reason for the order.",
    )

    objects = BacktestExecutionQuerySet.as_manager()

    class Meta:
        ordering = ["result", "number"]
        constraints = [
            *within_unit("settlement_value", model="backtest_execution"),
            models.UniqueConstraint(fields=["result", "number"], name="backtest_execution_once"),
            models.CheckConstraint(
                condition=Q(kind__in=ExecutionKind.values), name="backtest_execution_kind_known"
            ),
            models.CheckConstraint(
                condition=Q(outcome_side="yes", book_side="bid")
                | Q(outcome_side="no", book_side="ask"),
                name="backtest_execution_sides_agree",
            ),
            models.CheckConstraint(
                condition=Q(count__gt=0, fee__gte=0, cash__gte=0),
                name="backtest_execution_adds_up",
            ),
            models.CheckConstraint(
                condition=Q(kind=ExecutionKind.SETTLED, settlement_value__isnull=False, order=None)
                | (~Q(kind=ExecutionKind.SETTLED) & Q(settlement_value=None, order__isnull=False)),
                name="backtest_execution_settled_has_a_value",
            ),
            models.CheckConstraint(
                condition=Q(
                    kind=ExecutionKind.FILL,
                    liquidity__in=["maker", "taker"],
                    price__gte=0,
                    price__lte=1,
                )
                | (~Q(kind=ExecutionKind.FILL) & Q(liquidity="", fee=0)),
                name="backtest_execution_fill_has_liquidity",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.number} of {self.result_id}: {self.kind} {self.ticker}"
