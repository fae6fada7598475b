"""What was run, what came of it, and every order, fill and settlement on the way there."""

from decimal import Decimal

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q

from backtests.querysets import BacktestExecutionQuerySet, BacktestResultQuerySet
from markets.models.fields import count_field, price_field, within_unit


class Status(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Engine(models.TextChoices):
    KERNEL = "kernel"
    BACKTRADER = "backtrader"


class Sources(models.TextChoices):
    """Which snapshots count; see `loading`."""

    BEST = "best", "recorded live, backfilled elsewhere"
    RECORDED = "recorded", "recorded live"
    BACKFILLED = "backfilled"


class BacktestResult(models.Model):
    """One run of a strategy: what was asked for, how far it is, and what came of it.

    Whoever runs it holds `token`: nothing is written without it, so that a run which was given
    up for lost and goes on all the same changes nothing.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        related_name="backtests",
        null=True,
        blank=True,
    )
    strategy = models.CharField(max_length=100)
    strategy_version = models.CharField(max_length=50)
    params = models.JSONField(default=dict, blank=True)
    series = ArrayField(models.TextField(), default=list, blank=True)
    events = ArrayField(models.TextField(), default=list, blank=True)
    tickers = ArrayField(models.TextField(), default=list, blank=True)
    sources = models.CharField(max_length=10, choices=Sources, default=Sources.BEST)
    start = models.DateTimeField()
    end = models.DateTimeField(help_text="The first instant that is not part of the run.")
    cash = models.DecimalField(max_digits=18, decimal_places=6)
    engine = models.CharField(max_length=10, choices=Engine)
    execution = models.JSONField(help_text="How orders meet the books; see `execution.Execution`.")
    check_lookahead = models.BooleanField(
        default=False, help_text="Whether the strategy is to be checked for looking ahead."
    )
    created_at = models.DateTimeField(
        help_text="Settlements and definitions recorded later are not part of the run."
    )

    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    progress = models.FloatField(default=0)
    doing = models.CharField(max_length=200, blank=True)
    cancel_requested = models.BooleanField(default=False)
    token = models.UUIDField(null=True, blank=True, editable=False)
    attempts = models.IntegerField(default=0)
    claimed_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True, help_text="Why it failed, for people.")

    fees = models.JSONField(
        default=dict, blank=True, help_text="The kind of account, and how its fees were rounded."
    )
    code_fingerprint = models.JSONField(
        default=dict, blank=True, help_text="SHA-256 of what computed it; versions of libraries."
    )
    data_fingerprint = models.JSONField(
        default=dict, blank=True, help_text="SHA-256 of what it was computed from."
    )
    snapshots = models.IntegerField(null=True, blank=True)
    markets = models.IntegerField(null=True, blank=True)
    final_cash = models.DecimalField(max_digits=18, decimal_places=6, null=True, blank=True)
    figures = models.JSONField(default=dict, blank=True)
    band = models.JSONField(
        default=dict, blank=True, help_text="The same figures for each model of resting orders."
    )
    yardsticks = models.JSONField(
        default=dict, blank=True, help_text="The same figures of strategies to be measured by."
    )
    curve = models.JSONField(default=dict, blank=True)
    verdict = models.TextField(blank=True)
    assumptions = models.JSONField(default=list, blank=True)
    lookahead = models.JSONField(
        default=dict, blank=True, help_text="What the check for looking ahead found, if asked for."
    )

    objects = BacktestResultQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(F("created_at").desc(), F("id").desc(), name="backtest_newest"),
            models.Index(
                fields=["status"],
                condition=Q(status__in=["queued", "running"]),
                name="backtest_unfinished",
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(cash__gt=0), name="backtest_has_cash"),
            models.CheckConstraint(condition=Q(start__lt=F("end")), name="backtest_has_a_window"),
            models.CheckConstraint(
                condition=~Q(series=[], events=[], tickers=[]), name="backtest_of_something"
            ),
            models.CheckConstraint(
                condition=Q(progress__gte=0, progress__lte=1), name="backtest_progress_is_a_share"
            ),
            models.CheckConstraint(
                condition=Q(status__in=Status.values), name="backtest_status_known"
            ),
            models.CheckConstraint(
                condition=Q(engine__in=Engine.values), name="backtest_engine_known"
            ),
            models.CheckConstraint(
                condition=Q(status="running") ^ Q(token=None), name="backtest_held_while_running"
            ),
            models.CheckConstraint(
                condition=Q(status__in=["queued", "running"]) ^ Q(finished_at__isnull=False),
                name="backtest_finished_has_an_end",
            ),
            models.CheckConstraint(
                condition=Q(status="failed") ^ Q(error=""), name="backtest_failed_says_why"
            ),
            models.CheckConstraint(
                condition=~Q(status="done") | Q(final_cash__gte=0), name="backtest_done_has_cash"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.strategy} {self.pk}"

    @property
    def is_finished(self) -> bool:
        return self.status not in (Status.QUEUED, Status.RUNNING)

    @property
    def pnl(self) -> Decimal | None:
        """In cash; positions that are still held are not counted."""
        return None if self.final_cash is None else self.final_cash - self.cash


class Kind(models.TextChoices):
    ORDER = "order"
    FILL = "fill"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    SETTLED = "settled"


class BacktestExecution(models.Model):
    """One line of a run's journal, with the quote that it was made on.

    Everything is a copy: what becomes of markets and snapshots later, changes no audit. Prices
    are on the YES scale; who buys NO sells YES. `cash` and `position` are those after the line.
    """

    result = models.ForeignKey(
        BacktestResult,
        on_delete=models.CASCADE,
        related_name="executions",
        db_index=False,  # `backtest_execution_once` begins with the result
    )
    number = models.IntegerField()
    at = models.DateTimeField()
    kind = models.CharField(max_length=10, choices=Kind)
    ticker = models.CharField(max_length=200)
    order = models.IntegerField(null=True, blank=True, help_text="None of a settlement.")
    outcome_side = models.CharField(max_length=3, help_text="yes or no.")
    book_side = models.CharField(max_length=3, help_text="bid where YES is bought, else ask.")
    count = models.DecimalField(max_digits=18, decimal_places=2)
    price = models.DecimalField(
        max_digits=18,
        decimal_places=4,
        null=True,
        blank=True,
        help_text="What a settlement has none of, and an order may be refused for.",
    )
    settlement_value = models.DecimalField(max_digits=7, decimal_places=6, null=True, blank=True)
    fee = models.DecimalField(max_digits=18, decimal_places=6)
    liquidity = models.CharField(max_length=5, blank=True, help_text="maker or taker, of fills.")
    reason = models.TextField(blank=True)
    cash_change = models.DecimalField(
        max_digits=18, decimal_places=6, help_text="What it moved, its fee included."
    )
    cash = models.DecimalField(max_digits=18, decimal_places=6)
    position = models.DecimalField(
        max_digits=18, decimal_places=2, help_text="YES above zero, NO below."
    )
    quote_at = models.DateTimeField(null=True, blank=True)
    yes_bid = price_field()
    yes_ask = price_field()
    yes_bid_size = count_field()
    yes_ask_size = count_field()

    objects = BacktestExecutionQuerySet.as_manager()

    class Meta:
        ordering = ["result", "number"]
        constraints = [
            *within_unit("settlement_value", model="backtest_execution"),
            models.UniqueConstraint(fields=["result", "number"], name="backtest_execution_once"),
            models.CheckConstraint(
                condition=Q(kind__in=Kind.values), name="backtest_execution_kind_known"
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
                condition=Q(kind="settled", settlement_value__isnull=False, order=None)
                | (~Q(kind="settled") & Q(settlement_value=None, order__isnull=False)),
                name="backtest_execution_settled_has_a_value",
            ),
            models.CheckConstraint(
                condition=Q(
                    kind="fill", liquidity__in=["maker", "taker"], price__gte=0, price__lte=1
                )
                | (~Q(kind="fill") & Q(liquidity="", fee=0)),
                name="backtest_execution_fill_has_liquidity",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.number} of {self.result_id}: {self.kind} {self.ticker}"
