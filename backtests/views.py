"""The pages of backtests; each also serves its fragments to htmx."""

from datetime import UTC, datetime
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
from backtests.choosing import BadInput
from backtests.filters import BacktestFilter
from backtests.forms import BacktestForm
from backtests.models import BacktestExecution, BacktestResult, Kind, Status
from backtests.reads import with_gain
from backtests.submitting import TooMany, may_cancel, submit
from kalshi_insights.htmx import htmx_target, page_number, serves_fragments, template_for

PAGE_SIZE = 50
LINES = 50
# After so many seconds without a worker somebody should look.
PATIENCE = 30
LARGEST_ID = 2**63 - 1
KINDS = {"": "All", "fill": "Fills", "refused": "Refused", "settled": "Settled"}


@require_safe
@serves_fragments
def backtest_list(request: HttpRequest) -> HttpResponse:
    found = BacktestFilter(request.GET, queryset=BacktestResult.objects.for_list())
    page = Paginator(with_gain(found.qs), PAGE_SIZE).get_page(page_number(request.GET))
    context = {
        "page": page,
        "query": request.GET,
        "status": request.GET.get("status", ""),
        "tabs": {"": "All", **dict(Status.choices)}.items(),
        "is_moving": any(not run.is_finished for run in page),
        "now": datetime.now(UTC),
    }
    return render(request, template_for(request, "backtests/backtest_list.html", "runs"), context)


@require_http_methods(["GET", "HEAD", "POST"])
@serves_fragments
def backtest_new(request: HttpRequest) -> HttpResponse:
    now = datetime.now(UTC)
    if request.method != "POST":
        form = BacktestForm(None, asked=request.GET.dict(), now=now)
        template = template_for(request, "backtests/backtest_new.html", "fields")
        return render(request, template, {"form": form})
    if not request.user.is_authenticated:
        return redirect_to_login(f"{request.path}?{_wish(request.POST)}")
    form = BacktestForm(request.POST, asked={}, now=now)
    made = _submitted(form, request.user, now=now) if form.is_valid() else None
    if made is None:
        return render(request, "backtests/backtest_new.html", {"form": form}, status=400)
    return redirect("backtests:detail", made.pk)


@require_safe
@serves_fragments
def backtest_detail(request: HttpRequest, id: int) -> HttpResponse:
    result = _found(id)
    if htmx_target(request) == "progress" and result.is_finished:
        return HttpResponseClientRefresh()
    now = datetime.now(UTC)
    context = {
        "result": result,
        "now": now,
        "may_cancel": not result.is_finished and may_cancel(request.user, result),
        "waits_long": result.status == Status.QUEUED
        and (now - result.created_at).total_seconds() > PATIENCE,
    }
    if htmx_target(request) == "progress":
        return render(request, "backtests/backtest_detail.html#progress", context)
    context |= _lines(result, request.GET)
    if htmx_target(request) == "executions":
        return render(request, "backtests/backtest_detail.html#executions", context)
    context |= {
        "compared": report.compared(result) if result.figures else (),
        "heads": report.heads(result),
        "groups": list(report.groups(result)),
        "model": report.model(result),
        "params": report.params(result),
        "again": _again(result),
    }
    return render(request, "backtests/backtest_detail.html", context)


@require_POST
def backtest_cancel(request: HttpRequest, id: int) -> HttpResponse:
    result = _found(id)
    if not may_cancel(request.user, result):
        raise PermissionDenied
    BacktestResult.objects.request_cancel(result.pk, now=datetime.now(UTC))
    return redirect("backtests:detail", result.pk)


def _found(id: int) -> BacktestResult:
    result = BacktestResult.objects.filter(pk=id).first() if id <= LARGEST_ID else None
    if result is None:
        raise Http404(f"There is no backtest {id}.")
    return result


def _submitted(form: BacktestForm, user: User, *, now: datetime) -> BacktestResult | None:
    """The run, or None where the form says now what is wrong."""
    try:
        return submit(form.asked, user=user, now=now)
    except BadInput as fault:
        form.refuse(fault)
    except TooMany as fault:
        form.add_error(None, str(fault))
    return None


def _lines(result: BacktestResult, asked: QueryDict) -> dict[str, object]:
    kind = asked.get("kind", "")
    lines = BacktestExecution.objects.for_result(result)
    if kind in Kind.values:
        lines = lines.of_kind([kind])
    page: Page[BacktestExecution] = Paginator(lines, LINES).get_page(page_number(asked))
    return {"page": page, "query": asked, "kind": kind, "kinds": KINDS.items()}


def _wish(given: QueryDict) -> str:
    """What a form asked for, as the address of the form filled in."""
    return urlencode({name: given[name] for name in given if name != "csrfmiddlewaretoken"})


def _again(result: BacktestResult) -> str:
    """The form filled in with what a run was asked for."""
    names = {name: " ".join(getattr(result, name)) for name in ("series", "events", "tickers")}
    times = {name: f"{getattr(result, name):%Y-%m-%dT%H:%M:%S}" for name in ("start", "end")}
    params = {f"params.{name}": value for name, value in result.params.items()}
    chosen = {"sources": result.sources, "engine": result.engine, "cash": f"{result.cash:.6f}"}
    chosen |= {"check_lookahead": "on"} if result.check_lookahead else {}
    words = {"strategy": result.strategy, **names, **times, **chosen, **params, **result.execution}
    # No and zero were chosen too: left out, they would be filled in with what is usual.
    return urlencode({n: v for n, v in words.items() if v is not None and v != ""})
