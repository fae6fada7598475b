"""The pages of markets and of the recorder; each also serves its fragments to htmx."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from urllib.parse import urlencode

from django.conf import settings
from django.core.paginator import Page, Paginator
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import redirect, render
from django.template.loader import get_template, render_to_string
from django.urls import reverse
from django.views.decorators.http import require_safe
from django_htmx.http import HttpResponseClientRedirect, replace_url

from kalshi_insights.bad_input import BadInput
from kalshi_insights.htmx import (
    htmx_target,
    page_number,
    refreshed,
    serves_fragments,
    template_for,
)
from kalshi_insights.rest.errors import envelope, validation_message
from markets import charts
from markets import overview as overviews
from markets.calibration.breakdown import Breakdown
from markets.calibration.markets import observed_markets
from markets.calibration.report import Calibration, calibrate, within_bin
from markets.calibration.request import BREAKDOWNS
from markets.calibration.words import (
    ANCHOR_WORDS,
    EXCLUSION_WORDS,
    caution,
    group_words,
    price_words,
    verdict,
)
from markets.coverage import freshness
from markets.coverage.causes import outages
from markets.filters import MarketFilter
from markets.forms import CalibrationPageForm
from markets.intervals import Interval
from markets.models import (
    DiskUsage,
    Drift,
    ListedMarket,
    Market,
    Poll,
    Sweep,
    TapeDay,
    TapeSpan,
    Tier,
    Trade,
    WaitingTrade,
)
from markets.models.hours import sparkline_hours
from markets.models.listed_markets import ORDERS, ListedMarketQuerySet
from markets.models.search import Place, is_long

PAGE_SIZE = 50
MAX_DRIFT = 20
MAX_OUTAGES = 10
OUTAGES_WITHIN = timedelta(days=30)
WEEK = timedelta(days=7)
MAX_SIBLINGS = 60
MAX_TRADES = 12
MAX_SPANS = 10
MAX_TAPE_DAYS = 7
DEFAULT_ORDERING = "-volume_24h"
# Filters that stand behind "More", each in words.
FILTER_WORDS = {
    "closes_after": "closing after {}",
    "closes_before": "closing before {}",
    "price_min": "midpoint from ${}",
    "price_max": "midpoint to ${}",
    "spread_max": "spread to ${}",
    "volume_min": "{} or more traded in 24 h",
    "volume_max": "{} or fewer traded in 24 h",
    "interest_min": "open interest from {}",
    "two_sided": "quoted on both sides: {}",
    "updated_since": "changed since {}",
}
CLOSING_WITHIN = {"1 h": 1, "24 h": 24, "7 d": 24 * 7}
PARAMETERS = (*MarketFilter.base_filters, "ordering", "page")
TABS = {
    "open": "Open",
    "closed": "Closed",
    "settled": "Settled",
    "unknown": "Unknown",
    "all": "All",
}


@require_safe
@serves_fragments
def overview(request: HttpRequest) -> HttpResponse:
    now = datetime.now(UTC)
    categories = ListedMarket.objects.open().categories()
    context = {
        **freshness_context(now),
        "interval": settings.POLL_INTERVAL,
        "poll": Poll.objects.newest_finished(at=now),
        "uptime": overviews.uptime_of_day(now),
        "tiles": overviews.tiles(now),
        "categories": sorted(categories.items(), key=lambda pair: -pair[1]),
        "markets": sum(categories.values()),
    }
    template = template_for(request, "markets/overview.html", "overview")
    return render(request, template, context)


@require_safe
@serves_fragments
def market_list(request: HttpRequest) -> HttpResponse:
    query = request.GET.copy()
    query.setdefault("status", "open")
    filters = MarketFilter(query, queryset=ListedMarket.objects.all())
    if filters.is_valid():
        if isinstance(place := filters.form.cleaned_data["q"], Place):
            return redirect_to(request, place)
        # Headings, counts and links go by the spelling on record.
        for name in ("category", "series", "event"):
            query[name] = filters.form.cleaned_data[name]
    ordering = readable_ordering(query)
    # What is wrong is said instead of overlooked, so nothing is listed.
    found: ListedMarketQuerySet = ListedMarket.objects.none() if filters.errors else filters.qs
    found = found.ordered_by(*ordering)
    now = datetime.now(UTC)
    hours = sparkline_hours(now)
    ages = {**freshness_context(now), "hours": hours}
    if htmx_target(request) == "rows":
        # A refresh needs no total.
        first = (page_number(query) - 1) * PAGE_SIZE
        markets = found[first : first + PAGE_SIZE].markets().with_event().with_sparkline(hours)
        return refreshed(request, rendered_rows(markets, ages))
    counts = counts_by_category(query, filters)
    rows = range(total(counts, query.get("category", "")))
    page: Page[int] = Paginator(rows, PAGE_SIZE).get_page(page_number(query))
    first, count = max(page.start_index() - 1, 0), page.paginator.count
    # The page refreshes what it shows, which is the last one where the query asks for one beyond.
    short_query = without(without_defaults(query, page=page.number), *filters.errors)
    context = {
        "filter": filters,
        "order": ordering[0],
        "query": short_query,
        "unknown_order": "" if is_offered(query) else query["ordering"],
        "short_words": short_words(filters),
        "tabs": TABS.items(),
        "page": page,
        **ages,
        "markets": found.page(first=first, size=PAGE_SIZE, count=count)
        .with_event()
        .with_sparkline(hours),
        "chosen": chosen_filters(short_query),
        "closing": closing_within(now),
        "categories": counts,
    }
    if htmx_target(request) == "results":
        response = render(request, "markets/market_list.html#results", context)
        return replace_url(response, f"{request.path}?{short_query.urlencode()}".rstrip("?"))
    status = HTTPStatus.BAD_REQUEST if filters.errors else HTTPStatus.OK
    return render(request, "markets/market_list.html", context, status=status)


@require_safe
@serves_fragments
def market_detail(request: HttpRequest, ticker: str) -> HttpResponse:
    market = Market.objects.with_event().with_imports().by_ticker(ticker)
    if market is None:
        raise Http404(f"There is no market {ticker}.")
    if market.ticker != ticker:
        return redirect(f"{market.get_absolute_url()}?{request.GET.urlencode()}".rstrip("?"))
    now = datetime.now(UTC)
    context = {"market": market, **freshness_context(now)}
    if htmx_target(request) == "quote":
        return refreshed(request, [render_to_string("markets/market_detail.html#quote", context)])
    trades = Trade.objects.recorded().for_market(market)
    context["trades"] = trades.newest_first()[:MAX_TRADES]
    if htmx_target(request) == "trades":
        return refreshed(request, [render_to_string("markets/market_detail.html#trades", context)])
    span = request.GET.get("table", "")
    context["import_id"] = import_id = chosen_import(market, request.GET.get("import", ""))
    if span in charts.RANGES:
        context |= {
            "span": span,
            "closes": charts.table(market, span, now=now, import_id=import_id),
            "gaps": charts.gaps(market, span, now=now, import_id=import_id),
        }
    else:
        context["unknown_span"] = span
    if htmx_target(request) == "history":
        return render(request, "markets/market_detail.html#history", context)
    siblings = Market.objects.with_event().siblings_of(market).along_strikes()
    context |= {"siblings": siblings[:MAX_SIBLINGS], "ranges": charts.RANGES}
    return render(request, "markets/market_detail.html", context)


def chosen_import(market: Market, named: str) -> int | None:
    """Return the import whose quotes are shown in place of those of the record, if any."""
    if not named:
        return None
    found = {str(id): id for id in market.imported_by}
    if named not in found:
        raise Http404(f"No import {named} has quotes of {market.ticker} that can be used.")
    return found[named]


@require_safe
def market_chart(request: HttpRequest, ticker: str) -> JsonResponse:
    market = Market.objects.with_event().by_ticker(ticker)
    if market is None:
        missing = envelope("not_found", f"There is no market {ticker}.")
        return JsonResponse(missing, status=404)
    form = charts.ChartForm(request.GET)
    if not form.is_valid():
        refused = envelope("invalid", validation_message(form.errors), details=form.errors)
        return JsonResponse(refused, status=400)
    asked = form.cleaned_data
    columns = charts.chart(
        market,
        span=asked["range"] or "1d",
        since=asked["since"],
        now=datetime.now(UTC),
        import_id=asked["import"],
    )
    return JsonResponse(columns)


@require_safe
@serves_fragments
def recorder(request: HttpRequest) -> HttpResponse:
    now = datetime.now(UTC)
    problem = freshness.problem(now=now, interval=settings.POLL_INTERVAL)
    if htmx_target(request) == "recording":
        poll = Poll.objects.newest_finished(at=now)
        pill = {
            "recording": freshness.recording(poll, now=now, interval=settings.POLL_INTERVAL),
            "clock": freshness.clock_fault(poll, now=now),
            "problem": problem,
        }
        return render(request, "components/recording.html", pill)
    gaps, began = outages(now - OUTAGES_WITHIN, now), Poll.objects.began()
    context = {
        "problem": problem,
        "now": now,
        "interval": settings.POLL_INTERVAL,
        "day": overviews.uptime(gaps, began, Interval(now - overviews.DAY, now)),
        "week": overviews.uptime(gaps, began, Interval(now - WEEK, now)),
        "polls": Poll.objects.all()[:PAGE_SIZE],
        "sweeps": Sweep.objects.newest_complete_of(*Tier.values, at=now),
        "ages": Poll.objects.newest_ages(at=now),
        "target_ages": target_ages(),
        "outages": gaps[: -MAX_OUTAGES - 1 : -1],
        "drift": Drift.objects.all()[:MAX_DRIFT],
        # Read by the whole page alone, since it changes every ten minutes.
        "disk": DiskUsage.objects.summary,
        "tape": tape_context,
    }
    return render(request, template_for(request, "recorder/recorder.html", "runs"), context)


@require_safe
@serves_fragments
def calibration(request: HttpRequest) -> HttpResponse:
    form = CalibrationPageForm(request.GET)
    context: dict[str, object] = {"form": form}
    if form.is_valid():
        try:
            found = calibrate(form.calibration_request())
            context |= calibration_context(form, found, page=page_number(request.GET))
        except BadInput as fault:
            form.add_error(fault.field, fault.message)
    template = template_for(request, "markets/calibration.html", "results", "bin-markets")
    status = HTTPStatus.BAD_REQUEST if form.errors and not htmx_target(request) else HTTPStatus.OK
    return render(request, template, context, status=status)


def calibration_context(
    form: CalibrationPageForm, found: Calibration, *, page: int
) -> dict[str, object]:
    """Return what the page shows of a calibration, and of the bin that was chosen."""
    query = form.short_query()
    chosen = form.cleaned_data["bin"]
    context = {
        "found": found,
        "title": price_words(found.request),
        "verdict": verdict(found.scores, found.curve),
        "caution": caution(found.request),
        "anchors": [(ANCHOR_WORDS[each], n) for each, n in found.coverage.anchors.items()],
        "left_out": [(EXCLUSION_WORDS[each], n) for each, n in found.coverage.left_out.items()],
        "returns": list(zip(found.returns_yes, found.returns_no, strict=True)),
        "charts": {
            "curve": [asdict(each) for each in found.curve],
            "returns": {
                "yes": [asdict(each) for each in found.returns_yes],
                "no": [asdict(each) for each in found.returns_no],
            },
            "trail": asdict(found.trail),
        },
        "query": query,
        "api_query": form.api_query().urlencode(),
        "markets_query": form.api_query("by").urlencode(),
        "groups": group_rows(form, found.breakdown),
        "by": found.breakdown and BREAKDOWNS[found.breakdown.by],
        "rows": None,
        "chosen": chosen,
    }
    if chosen is None:
        return context
    used = within_bin(found.request, found.used.newest_first(), chosen)
    pages: Page[int] = Paginator(range(len(used.prices)), PAGE_SIZE).get_page(page)
    first = max(pages.start_index() - 1, 0)
    rows = observed_markets(used.sliced(slice(first, first + PAGE_SIZE)))
    return context | {"rows": rows, "page": pages, "bin": found.curve[chosen]}


def group_rows(form: CalibrationPageForm, found: Breakdown | None) -> list[dict[str, object]]:
    """Return the groups of a breakdown by name, each with the choices that show it alone."""
    if found is None:
        return []
    return [
        {
            "name": group_words(found.by, each.group),
            "narrowed": form.narrowed_query(found.by, each.group),
            "scores": each,
        }
        for each in found.groups
    ]


def tape_context() -> dict[str, object]:
    """Return how whole the record of trades is, and what proves it by day."""
    return {
        "mode": settings.RECORD_TRADES,
        "newest": TapeSpan.objects.newest(),
        "open": TapeSpan.objects.open()[:MAX_SPANS],
        "days": TapeDay.objects.all()[:MAX_TAPE_DAYS],
        "waiting": WaitingTrade.objects.count(),
    }


def redirect_to(request: HttpRequest, place: Place) -> HttpResponse:
    """Lead to a market's page, or to the markets of an event or a series."""
    if place.market:
        address = reverse("markets:detail", args=[place.market])
    else:
        narrowed = {"event": place.event} if place.event else {"series": place.series}
        address = f"{reverse('markets:list')}?{urlencode(narrowed | {'status': 'all'})}"
    return HttpResponseClientRedirect(address) if htmx_target(request) else redirect(address)


def counts_by_category(query: QueryDict, filters: MarketFilter) -> dict[str, int]:
    """Count the markets of every category that the other filters let through."""
    if filters.errors:
        return {}
    if query.get("category"):
        queryset = ListedMarket.objects.all()
        filters = MarketFilter(without(query, "category"), queryset=queryset)
    counts: dict[str, int] = filters.qs.categories()
    return counts


def target_ages() -> dict[str, float]:
    """The seconds within which each tier of quotes should be observed again."""
    return {Tier.HOT: settings.POLL_INTERVAL, Tier.UNIVERSE: settings.UNIVERSE_INTERVAL}


def rendered_rows(markets: Iterable[Market], ages: dict[str, object]) -> list[str]:
    """The rows of the list, each with the id of its place."""
    row = get_template("markets/_row.html")
    return [
        row.render({"market": market, "place": place, **ages})
        for place, market in enumerate(markets, 1)
    ]


def freshness_context(now: datetime) -> dict[str, object]:
    """The context from which templates compute the age of a market's quote."""
    sweeps = Sweep.objects.newest_complete_of(*freshness.COVERING_TIERS, at=now)
    return {"now": now, "sweeps": sweeps}


def readable_ordering(query: QueryDict) -> list[str]:
    """The keys that a query orders by; the default where it names none that is offered."""
    return order_keys(query) if is_offered(query) else [DEFAULT_ORDERING]


def order_keys(query: QueryDict) -> list[str]:
    return (query.get("ordering") or DEFAULT_ORDERING).split(",")


def is_offered(query: QueryDict) -> bool:
    """True where a query orders by keys that the list has, and by none of them twice."""
    names = [key.removeprefix("-") for key in order_keys(query)]
    return len(set(names)) == len(names) and set(names) <= ORDERS.keys()


def short_words(filters: MarketFilter) -> list[str]:
    """The words of a search that count only as the beginning of a ticker."""
    words = filters.form.cleaned_data.get("q") or ()
    return [] if isinstance(words, Place) else [word for word in words if not is_long(word)]


def chosen_filters(query: QueryDict) -> list[tuple[str, str]]:
    """Return the filters of a query in words, each with the query that lacks it."""
    return [
        (words.format(query[name][:40]), f"?{without(query, name, 'page').urlencode()}")
        for name, words in FILTER_WORDS.items()
        if query.get(name)
    ]


def closing_within(now: datetime) -> list[tuple[str, str, str]]:
    """Return spans from now on with the instants at which they begin and end."""
    return [
        (words, f"{now:%Y-%m-%dT%H:%M:%SZ}", f"{now + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}")
        for words, hours in CLOSING_WITHIN.items()
    ]


def total(counts: dict[str, int], category: str) -> int:
    return counts.get(category, 0) if category else sum(counts.values())


def without(query: QueryDict, *names: str) -> QueryDict:
    rest = query.copy()
    for name in names:
        rest.pop(name, None)
    return rest


def without_defaults(query: QueryDict, *, page: int) -> QueryDict:
    """The parameters that differ from the defaults, so that the address stays readable."""
    defaults = {"status": "open", "ordering": DEFAULT_ORDERING, "page": "1"}
    given = {name: query[name] for name in PARAMETERS if query.get(name)}
    given["page"] = str(page)
    if not is_offered(query):
        given["ordering"] = DEFAULT_ORDERING
    short = QueryDict(mutable=True)
    short.update({name: value for name, value in given.items() if value != defaults.get(name)})
    return short
