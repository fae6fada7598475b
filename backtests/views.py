"""The pages of backtests; each also serves its fragments to htmx."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh

from backtests import report
from backtests.charted_series import ChartedSeries
from backtests.filters import BacktestFilter
from backtests.forms import BacktestForm
from backtests.models import (
    RUN_BACKTESTS,
    BacktestExecution,
    BacktestResult,
    BacktestStatus,
    ExecutionKind,
    RequestedRun,
)
from backtests.requests import TooManyUnfinished, stored_execution, submit
from kalshi_insights.bad_input import BadInput
from kalshi_insights.htmx import htmx_target, page_number, serves_fragments, template_for

PAGE_SIZE = 50
ENTRIES_PER_PAGE = 50
# A run that has waited so long for a worker shows a hint to start one.
HINT_AFTER_SECONDS = 30
MAX_ID = 2**63 - 1
KIND_TABS = {
    "": "All",
    ExecutionKind.FILL.value: "Fills",
    ExecutionKind.REFUSED.value: "Refused",
    ExecutionKind.SETTLED.value: "Settled",
}


@require_safe
@serves_fragments
def backtest_list(request: HttpRequest) -> HttpResponse:
    found = BacktestFilter(request.GET, queryset=BacktestResult.objects.for_list())
    # What is wrong is said instead of overlooked, so nothing is listed.
    runs = BacktestResult.objects.none() if found.errors else found.qs
    page = Paginator(runs.with_pnl(), PAGE_SIZE).get_page(page_number(request.GET))
    context = {
        "errors": found.errors,
        "page": page,
        "query": request.GET,
        "status": request.GET.get("status", ""),
        "tabs": {"": "All", **dict(BacktestStatus.choices)}.items(),
        "is_moving": any(not run.is_finished for run in page),
        "now": datetime.now(UTC),
    }
    template = template_for(request, "backtests/backtest_list.html", "runs", "latest")
    status = HTTPStatus.BAD_REQUEST if found.errors else HTTPStatus.OK
    return render(request, template, context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
@serves_fragments
def backtest_new(request: HttpRequest) -> HttpResponse:
    now = datetime.now(UTC)
    if request.method != "POST":
        form = BacktestForm(None, query=request.GET.dict(), now=now)
        template = template_for(request, "backtests/backtest_new.html", "fields")
        return render(request, template, {"form": form})
    if not request.user.is_authenticated:
        return redirect_to_login(f"{request.path}?{form_query(request.POST)}")
    if not request.user.has_perm(RUN_BACKTESTS):
        raise PermissionDenied
    form = BacktestForm(request.POST, query={}, now=now)
    result = _submit(form, request.user, now=now) if form.is_valid() else None
    if result is None:
        return render(request, "backtests/backtest_new.html", {"form": form}, status=400)
    return redirect("backtests:detail", result.pk)


@require_safe
@serves_fragments
def backtest_detail(request: HttpRequest, id: int) -> HttpResponse:
    result = _get_result(id)
    if htmx_target(request) == "progress" and result.is_finished:
        return HttpResponseClientRefresh()
    now = datetime.now(UTC)
    context = {
        "result": result,
        "now": now,
        "may_cancel": not result.is_finished and result.can_be_cancelled_by(request.user),
        "waits_long": result.status == BacktestStatus.QUEUED
        and (now - result.created_at).total_seconds() > HINT_AFTER_SECONDS,
    }
    if htmx_target(request) == "progress":
        return render(request, "backtests/backtest_detail.html#progress", context)
    context |= _executions(result, request.GET)
    if htmx_target(request) == "executions":
        return render(request, "backtests/backtest_detail.html#executions", context)
    deflated = report.deflation(result)
    context |= {
        "charted": ChartedSeries.objects.of_result(result.pk).contents(),
        "comparison": report.comparison(result) if result.figures else (),
        "heads": report.column_heads(result),
        "groups": list(report.figure_groups(result, deflated)),
        "judgements": report.judgements(result, deflated),
        "execution_model": report.execution_model(result),
        "params": report.params(result),
        "rerun_query": _rerun_query(result),
    }
    return render(request, "backtests/backtest_detail.html", context)


@require_POST
def backtest_cancel(request: HttpRequest, id: int) -> HttpResponse:
    result = _get_result(id)
    if not result.can_be_cancelled_by(request.user):
        raise PermissionDenied
    BacktestResult.objects.request_cancel(result.pk, now=datetime.now(UTC))
    return redirect("backtests:detail", result.pk)


def _get_result(id: int) -> BacktestResult:
    result = BacktestResult.objects.filter(pk=id).first() if id <= MAX_ID else None
    if result is None:
        raise Http404(f"There is no backtest {id}.")
    return result


def _submit(form: BacktestForm, user: User, *, now: datetime) -> BacktestResult | None:
    """Queue the run; None where it was refused and the form has the errors."""
    try:
        return submit(form.backtest_request, user=user, now=now)
    except BadInput as fault:
        form.add_bad_input(fault)
    except TooManyUnfinished as fault:
        form.add_error(None, str(fault))
    return None


def _executions(result: BacktestResult, query: QueryDict) -> dict[str, object]:
    kind = query.get("kind", "")
    executions = BacktestExecution.objects.for_result(result)
    if kind in ExecutionKind.values:
        executions = executions.of_kind(kind)
    paginator = Paginator(executions, ENTRIES_PER_PAGE)
    page: Page[BacktestExecution] = paginator.get_page(page_number(query))
    return {
        "page": page,
        "has_reasons": any(entry.stated_reason for entry in page),
        "query": query,
        "kind": kind,
        "unknown_kind": "" if kind in ExecutionKind.values else kind,
        "kinds": KIND_TABS.items(),
    }


def form_query(given: QueryDict) -> str:
    """The query of an address that fills in the form as it was sent."""
    return urlencode({name: given[name] for name in given if name != "csrfmiddlewaretoken"})


def _rerun_query(result: BacktestResult) -> str:
    """The query of an address that fills in the form with the request of a run."""
    checked = {"check_lookahead": "on"} if result.check_lookahead else {}
    return "&".join(filter(None, (query_of(result, result.params), urlencode(checked))))


def query_of(requested: RequestedRun, params: Mapping[str, Any]) -> str:
    """The query of an address that fills in the form with what was requested."""
    lists = ("series", "events", "tickers", "imports")
    names = {name: " ".join(map(str, getattr(requested, name))) for name in lists}
    times = {name: f"{getattr(requested, name):%Y-%m-%dT%H:%M:%S}" for name in ("start", "end")}
    values = {
        "strategy": requested.strategy,
        **names,
        **times,
        "sources": requested.sources,
        "engine": requested.engine,
        "cash": f"{requested.cash:.6f}",
        **{f"params.{name}": value for name, value in params.items()},
        **asdict(stored_execution(requested.execution)),
    }
    # False and zero stay in the query: without them the form would show its defaults.
    return urlencode({n: v for n, v in values.items() if v is not None and v != ""})
