"""The pages. Each serves its fragments too: `HX-Target` names the part that is asked for."""

from datetime import UTC, datetime

from django.conf import settings
from django.core.paginator import Page, Paginator
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import render
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers
from django_htmx.http import replace_url

from kalshi_insights.rest.errors import envelope, invalid_message
from markets import charts
from markets.coverage import freshness
from markets.filters import MarketFilter
from markets.models import Drift, Market, Poll, Sweep, Tier
from markets.models.markets import ORDERS, MarketQuerySet

PAGE_SIZE = 50
DRIFT_SHOWN = 20
MOST_SIBLINGS = 60
FIRST_ORDER = next(iter(ORDERS))
WORDS = (*MarketFilter.base_filters, "sort", "page")
TABS = {"open": "Open", "closed": "Closed", "settled": "Settled", "all": "All"}
fragments = vary_on_headers("HX-Request", "HX-Target")


@require_safe
@fragments
def market_list(request: HttpRequest) -> HttpResponse:
    asked = request.GET.copy()
    asked.setdefault("status", "open")
    found = MarketFilter(asked, queryset=Market.objects.with_event())
    order = asked["sort"] if asked.get("sort") in ORDERS else FIRST_ORDER
    ranked: MarketQuerySet = found.qs.ranked(order)
    context = {"filter": found, "order": order, "said": said(asked), **ages(datetime.now(UTC))}
    if target(request) == "rows":
        context["markets"] = rows(ranked, asked)
        return render(request, "markets/market_list.html#rows", context)
    categories = MarketFilter(without(asked, "category"), queryset=Market.objects.all())
    counts: dict[str, int] = categories.qs.categories()
    page = counted_page(ranked, asked, total=total(counts, asked.get("category", "")))
    context |= {
        "tabs": TABS.items(),
        "page": page,
        "markets": page.object_list,
        "categories": counts,
    }
    if target(request) == "results":
        response = render(request, "markets/market_list.html#results", context)
        return replace_url(response, f"{request.path}?{said(asked).urlencode()}".rstrip("?"))
    return render(request, "markets/market_list.html", context)


@require_safe
@fragments
def market_detail(request: HttpRequest, ticker: str) -> HttpResponse:
    market = Market.objects.with_event().by_ticker(ticker)
    if market is None:
        raise Http404(f"There is no market {ticker}.")
    now = datetime.now(UTC)
    context = {"market": market, **ages(now)}
    if target(request) == "quote":
        return render(request, "markets/market_detail.html#quote", context)
    span = request.GET.get("table", "")
    if span in charts.RANGES:
        context |= {"span": span, "closes": charts.table(market, span, now=now)}
    if target(request) == "history":
        return render(request, "markets/market_detail.html#history", context)
    siblings = Market.objects.with_event().siblings_of(market).along_strikes()
    context |= {"siblings": siblings[:MOST_SIBLINGS], "ranges": charts.RANGES}
    return render(request, "markets/market_detail.html", context)


@require_safe
def market_chart(request: HttpRequest, ticker: str) -> JsonResponse:
    market = Market.objects.defer("raw_data").by_ticker(ticker)
    if market is None:
        missing = envelope("not_found", f"There is no market {ticker}.")
        return JsonResponse(missing, status=404)
    form = charts.ChartForm(request.GET)
    if not form.is_valid():
        refused = envelope("invalid", invalid_message(form.errors), details=form.errors)
        return JsonResponse(refused, status=400)
    span, since = form.cleaned_data["range"] or "1d", form.cleaned_data["since"]
    return JsonResponse(charts.chart(market, span=span, since=since, now=datetime.now(UTC)))


@require_safe
@fragments
def recorder(request: HttpRequest) -> HttpResponse:
    now = datetime.now(UTC)
    if target(request) == "recording":
        state = freshness.recording(
            Poll.objects.newest_finished(), now=now, interval=settings.POLL_INTERVAL
        )
        return render(request, "components/recording.html", {"recording": state})
    context = {
        "now": now,
        "interval": settings.POLL_INTERVAL,
        "polls": Poll.objects.all()[:PAGE_SIZE],
        "sweeps": Sweep.objects.newest_complete_of(*Tier.values),
        "ages": Poll.objects.newest_ages(),
        "wished": wished_ages(),
        "drift": Drift.objects.all()[:DRIFT_SHOWN],
    }
    fragment = "#runs" if target(request) == "runs" else ""
    return render(request, f"recorder/recorder.html{fragment}", context)


def target(request: HttpRequest) -> str:
    """The id of the element to be filled; empty where a whole page is wanted."""
    wanted: str = request.headers.get("HX-Target", "")
    return wanted if request.headers.get("HX-Request") else ""


def wished_ages() -> dict[str, float]:
    """How often each tier of quotes is meant to be observed, in seconds."""
    return {Tier.HOT: settings.POLL_INTERVAL, Tier.UNIVERSE: settings.UNIVERSE_INTERVAL}


def ages(now: datetime) -> dict[str, object]:
    """What templates tell the age of a market by."""
    return {"now": now, "sweeps": Sweep.objects.newest_complete_of(*freshness.COVERING_TIERS)}


def page_number(asked: QueryDict) -> int:
    text = asked.get("page", "")
    return max(int(text), 1) if text.isascii() and text.isdigit() and len(text) < 7 else 1


def rows(ranked: MarketQuerySet, asked: QueryDict) -> MarketQuerySet:
    """The rows of a page without counting the others: what a refresh needs."""
    first = (page_number(asked) - 1) * PAGE_SIZE
    return ranked[first : first + PAGE_SIZE]


def counted_page(ranked: MarketQuerySet, asked: QueryDict, *, total: int) -> Page[Market]:
    paginator = Paginator(ranked, PAGE_SIZE)
    paginator.count = total
    return paginator.get_page(page_number(asked))


def total(counts: dict[str, int], category: str) -> int:
    return counts.get(category, 0) if category else sum(counts.values())


def without(asked: QueryDict, *names: str) -> QueryDict:
    rest = asked.copy()
    for name in names:
        rest.pop(name, None)
    return rest


def said(asked: QueryDict) -> QueryDict:
    """The query that says what is shown and nothing more, so that it reads as words."""
    usual = {"status": "open", "sort": FIRST_ORDER, "page": "1"}
    kept = QueryDict(mutable=True)
    words = {name: asked[name] for name in WORDS if asked.get(name)}
    kept.update({name: word for name, word in words.items() if word != usual.get(name)})
    return kept
