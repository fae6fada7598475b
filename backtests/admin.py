from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from backtests.models import BacktestExecution, BacktestResult, Search, Trial
from backtests.templatetags.runs import gain
from kalshi_insights.admin import ReadOnlyAdmin


@admin.register(BacktestResult)
class BacktestResultAdmin(ReadOnlyAdmin):
    list_display = [
        "id",
        "strategy",
        "status",
        "progress",
        "pnl",
        "cash",
        "start",
        "end",
        "user",
        "created_at",
    ]
    list_filter = ["status", "strategy", "engine"]
    list_select_related = ["user"]
    search_fields = ["strategy", "series", "events", "tickers", "user__username", "error"]
    exclude = ["token"]
    actions = ["cancel"]
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[BacktestResult]:
        return BacktestResult.objects.for_list().with_pnl()

    @admin.display(description="P&L", ordering="pnl")
    def pnl(self, run: BacktestResult) -> str:
        return gain(run.pnl)  # type: ignore[attr-defined]

    @admin.action(description="Cancel unfinished backtests")
    def cancel(self, request: HttpRequest, selected: QuerySet[BacktestResult]) -> None:
        ids = selected.order_by().values_list("pk", flat=True)
        now = timezone.now()
        cancelled = sum(BacktestResult.objects.request_cancel(id, now=now) for id in ids)
        self.message_user(request, f"{cancelled} cancelled; the others were finished already.")


@admin.register(BacktestExecution)
class BacktestExecutionAdmin(ReadOnlyAdmin):
    list_display = [
        "result_id",
        "number",
        "at",
        "kind",
        "ticker",
        "outcome_side",
        "count",
        "price",
        "fee",
        "cash_change",
        "cash",
        "reason",
    ]
    list_filter = ["kind"]
    search_fields = ["=result__id", "ticker"]
    ordering = ["-result_id", "number"]
    show_full_result_count = False


@admin.register(Search)
class SearchAdmin(ReadOnlyAdmin):
    list_display = [
        "id",
        "strategy",
        "status",
        "points_count",
        "folds",
        "start",
        "end",
        "user",
        "created_at",
    ]
    list_filter = ["status", "strategy", "engine"]
    list_select_related = ["user"]
    search_fields = ["strategy", "series", "events", "tickers", "user__username", "error"]
    show_full_result_count = False


@admin.register(Trial)
class TrialAdmin(ReadOnlyAdmin):
    list_display = ["strategy", "made_at", "parameters", "periods", "sharpe"]
    list_filter = ["strategy"]
    search_fields = ["strategy"]
    show_full_result_count = False
