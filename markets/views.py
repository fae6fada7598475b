"""The pages of markets and of the recorder; each also serves its fragments to htmx."""

from datetime import UTC, datetime

from django.conf import settings
from django.core.paginator import Page, Paginator
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import render
from django.views.decorators.http import require_safe
from django_htmx.http import replace_url

from kalshi_insights.htmx import htmx_target, page_number, serves_fragments, template_for
from kalshi_insights.rest.errors import envelope, validation_message
from markets import charts
from markets.coverage import freshness
from markets.filters import MarketFilter
from markets.models import Drift, Market, Poll, Sweep, Tier
from markets.models.markets import ORDERS, MarketQuerySet

PAGE_SIZE = 50
MAX_DRIFT = 20
MAX_SIBLINGS = 60
DEFAULT_ORDERING = "-volume_24h"
PARAMETERS = (*MarketFilter.base_filters, "ordering", "page")
TABS = {"open": "Open", "closed": "Closed", "settled": "Settled", "all": "All"}


@require_safe
@serves_fragments
def market_list(request: HttpRequest) -> HttpResponse:
    query = request.GET.copy()
    query.setdefault("status", "open")
    filters = MarketFilter(query, queryset=Market.objects.with_event())
    ordering = readable_ordering(query)
    ranked: MarketQuerySet = filters.qs.ordered_by(*ordering)
    short_query = without_defaults(query)
    context = {
        "filter": filters,
        "order": ordering[0],
        "query": short_query,
        **freshness_context(datetime.now(UTC)),
    }
    if htmx_target(request) == "rows":
        context["markets"] = uncounted_page(ranked, query)
        return render(request, "markets/market_list.html#rows", context)
    all_categories = MarketFilter(without(query, "category"), queryset=Market.objects.all())
    counts: dict[str, int] = all_categories.qs.categories()
    page = counted_page(ranked, query, total=total(counts, query.get("category", "")))
    context |= {
        "tabs": TABS.items(),
        "page": page,
        "markets": page.object_list,
        "categories": counts,
    }
    if htmx_target(request) == "results":
        response = render(request, "markets/market_list.html#results", context)
        return replace_url(response, f"{request.path}?{short_query.urlencode()}".rstrip("?"))
    return render(request, "markets/market_list.html", context)


@require_safe
@serves_fragments
def market_detail(request: HttpRequest, ticker: str) -> HttpResponse:
    market = Market.objects.with_event().by_ticker(ticker)
    if market is None:
        raise Http404(f"There is no market {ticker}.")
    now = datetime.now(UTC)
    context = {"market": market, **freshness_context(now)}
    if htmx_target(request) == "quote":
        return render(request, "markets/market_detail.html#quote", context)
    span = request.GET.get("table", "")
    if span in charts.RANGES:
        context |= {"span": span, "closes": charts.table(market, span, now=now)}
    if htmx_target(request) == "history":
        return render(request, "markets/market_detail.html#history", context)
    siblings = Market.objects.with_event().siblings_of(market).along_strikes()
    context |= {"siblings": siblings[:MAX_SIBLINGS], "ranges": charts.RANGES}
    return render(request, "markets/market_detail.html", context)


@require_safe
def market_chart(request: HttpRequest, ticker: str) -> JsonResponse:
    market = Market.objects.defer("raw_data").by_ticker(ticker)
    if market is None:
        missing = envelope("not_found", f"There is no market {ticker}.")
        return JsonResponse(missing, status=404)
    form = charts.ChartForm(request.GET)
    if not form.is_valid():
        refused = envelope("invalid", validation_message(form.errors), details=form.errors)
        return JsonResponse(refused, status=400)
    span, since = form.cleaned_data["range"] or "1d", form.cleaned_data["since"]
    return JsonResponse(charts.chart(market, span=span, since=since, now=datetime.now(UTC)))


@require_safe
@serves_fragments
def recorder(request: HttpRequest) -> HttpResponse:
    now = datetime.now(UTC)
    if htmx_target(request) == "recording":
        poll = Poll.objects.newest_finished(at=now)
        pill = {
            "recording": freshness.recording(poll, now=now, interval=settings.POLL_INTERVAL),
            "clock": freshness.clock_fault(poll, now=now),
        }
        return render(request, "components/recording.html", pill)
    context = {
        "now": now,
        "interval": settings.POLL_INTERVAL,
        "polls": Poll.objects.all()[:PAGE_SIZE],
        "sweeps": Sweep.objects.newest_complete_of(*Tier.values, at=now),
        "ages": Poll.objects.newest_ages(at=now),
        "target_ages": target_ages(),
        "drift": Drift.objects.all()[:MAX_DRIFT],
    }
    return render(request, template_for(request, "recorder/recorder.html", "runs"), context)


def target_ages() -> dict[str, float]:
    """The seconds within which each tier of quotes should be observed again."""
    return {Tier.HOT: settings.POLL_INTERVAL, Tier.UNIVERSE: settings.UNIVERSE_INTERVAL}


def freshness_context(now: datetime) -> dict[str, object]:
    """The context from which templates compute the age of a market's quote."""
    sweeps = Sweep.objects.newest_complete_of(*freshness.COVERING_TIERS, at=now)
    return {"now": now, "sweeps": sweeps}


def readable_ordering(query: QueryDict) -> list[str]:
    """The keys that a query orders by; the default where it names an unknown one."""
    keys = query.get("ordering", DEFAULT_ORDERING).split(",")
    return keys if all(key.removeprefix("-") in ORDERS for key in keys) else [DEFAULT_ORDERING]


def uncounted_page(ranked: MarketQuerySet, query: QueryDict) -> MarketQuerySet:
    """The rows of a page, for a refresh, which needs no total."""
    first = (page_number(query) - 1) * PAGE_SIZE
    return ranked[first : first + PAGE_SIZE]


def counted_page(ranked: MarketQuerySet, query: QueryDict, *, total: int) -> Page[Market]:
    paginator = Paginator(ranked, PAGE_SIZE)
    paginator.count = total
    return paginator.get_page(page_number(query))


def total(counts: dict[str, int], category: str) -> int:
    return counts.get(category, 0) if category else sum(counts.values())


def without(query: QueryDict, *names: str) -> QueryDict:
    rest = query.copy()
    for name in names:
        rest.pop(name, None)
    return rest


def without_defaults(query: QueryDict) -> QueryDict:
    """The parameters that differ from the defaults, so that the address stays readable."""
    defaults = {"status": "open", "ordering": DEFAULT_ORDERING, "page": "1"}
    given = {name: query[name] for name in PARAMETERS if query.get(name)}
    short = QueryDict(mutable=True)
    short.update({name: value for name, value in given.items() if value != defaults.get(name)})
    return short
