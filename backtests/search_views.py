"""The pages of searches; each also serves its fragments to htmx."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRefresh

from backtests import search_report
from backtests.filters import ParameterSearchFilter
from backtests.models import Search, SearchPoint
from backtests.models.searches import POINT_ORDERS
from backtests.search_forms import OWN_FIELDS, SearchForm
from backtests.searches.requests import TooManySearches, resume
from backtests.strategies.parameters import Value
from backtests.views import MAX_ID, list_page, new_page, query_of, waits_long
from kalshi_insights.htmx import htmx_target, page_number, serves_fragments, template_for

POINTS_PER_PAGE = 50
BY_PNL = "-pnl"


@require_safe
@serves_fragments
def search_list(request: HttpRequest) -> HttpResponse:
    found = ParameterSearchFilter(request.GET, queryset=Search.objects.for_list())
    return list_page(request, found, "backtests/search_list.html", "searches")


@require_http_methods(["GET", "HEAD", "POST"])
@serves_fragments
def search_new(request: HttpRequest) -> HttpResponse:
    return new_page(request, SearchForm, "backtests/search_new.html", "backtests:search")


@require_safe
@serves_fragments
def search_detail(request: HttpRequest, id: int) -> HttpResponse:
    search = _get_search(id)
    if htmx_target(request) == "result" and search.is_finished:
        return HttpResponseClientRefresh()
    progress, now = search.progress(), datetime.now(UTC)
    may_change = search.can_be_changed_by(request.user)
    context = {
        "search": search,
        "progress": progress,
        "now": now,
        "may_cancel": may_change and not search.is_finished,
        "may_resume": may_change and search.may_resume,
        "waits_long": waits_long(search, now),
        "again_query": _again_query(search),
        **_points(search, request.GET),
    }
    if htmx_target(request) == "points":
        return render(request, "backtests/search_detail.html#points", context)
    if progress.done:
        points = list(SearchPoint.objects.of_search(id).narrow())
        axes = {name: request.GET.get(name, "") for name in ("across", "down")}
        context["heat"] = search_report.heat_map(search, points, **axes)
        context["failed"] = sum(bool(point.error) for point in points)
        context |= _results(search, {point.number: point.params for point in points})
    template = template_for(request, "backtests/search_detail.html", "result")
    return render(request, template, context)


@require_POST
def search_cancel(request: HttpRequest, id: int) -> HttpResponse:
    search = _get_own(request, id)
    Search.objects.cancel(search.pk, now=datetime.now(UTC))
    return redirect("backtests:search", search.pk)


@require_POST
def search_resume(request: HttpRequest, id: int) -> HttpResponse:
    search = _get_own(request, id)
    try:
        resume(search.pk, user=cast(User, request.user))
    except TooManySearches as fault:
        messages.error(request, str(fault))
    return redirect("backtests:search", search.pk)


def _get_search(id: int) -> Search:
    search = Search.objects.filter(pk=id).first() if id <= MAX_ID else None
    if search is None:
        raise Http404(f"There is no search {id}.")
    return search


def _get_own(request: HttpRequest, id: int) -> Search:
    search = _get_search(id)
    if not search.can_be_changed_by(request.user):
        raise PermissionDenied
    return search


def _points(search: Search, query: QueryDict) -> dict[str, object]:
    """The table of points, ordered by a figure or by a varied parameter."""
    keys = {f"params.{name}": f"params__{name}" for name in search.varied}
    keys |= {name: name for name in POINT_ORDERS}
    order = query.get("ordering", BY_PNL)
    if order.removeprefix("-") not in keys:
        order = BY_PNL
    sign, key = ("-", order[1:]) if order.startswith("-") else ("", order)
    points = SearchPoint.objects.of_search(search.pk).narrow().ordered_by(f"{sign}{keys[key]}")
    page = Paginator(points, POINTS_PER_PAGE).get_page(page_number(query))
    rows = list(search_report.point_rows(search, list(page)))
    reruns = [_rerun_query(search, row.point.params) for row in rows]
    return {
        "page": page,
        "rows": list(zip(rows, reruns, strict=True)),
        "order": order,
        "query": query,
        "varied": [(name, f"params.{name}") for name in search.varied],
    }


def _results(search: Search, params: Mapping[int, Mapping[str, Value]]) -> dict[str, object]:
    """The figures of a search that is done."""
    best = search.figures.get("best")
    if best is None:
        return {}
    point = SearchPoint.objects.of_search(search.pk).narrow().get(number=best)
    [row] = search_report.point_rows(search, [point])
    results: dict[str, object] = {
        "best": row,
        "best_params": params[best],
        "best_query": _rerun_query(search, point.params),
    }
    results["judgements"] = list(search_report.judgements(search, point))
    if "walk_forward" in search.figures:
        results["walk"] = search_report.walk_forward(search, params)
    return results


def _rerun_query(search: Search, point: Mapping[str, Value]) -> str:
    """The query of an address that fills in the form of a backtest with a point."""
    return query_of(search, search.params_of(dict(point)))


def _again_query(search: Search) -> str:
    """The query of an address that fills in the form with this search."""
    texts = {name: ",".join(map(str, values)) for name, values in search.varied.items()}
    own = {name: getattr(search, name) for name in OWN_FIELDS}
    known = {name: each for name, each in own.items() if each is not None}
    return f"{query_of(search, {**search.params, **texts})}&{urlencode(known)}"
