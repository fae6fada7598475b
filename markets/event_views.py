"""The page of an event: all of its outcomes together."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from kalshi_insights.htmx import serves_fragments, template_for
from kalshi_insights.rest.errors import envelope, validation_message
from markets import charts, fees, prices
from markets.coverage import freshness
from markets.coverage.causes import silent_times
from markets.fees import Rate, UnknownFees
from markets.intervals import EPOCH, Interval
from markets.models import Event, Market, MarketSnapshot, Sweep
from markets.models.markets import OPEN_STATUSES
from markets.outcomes import LADDERS, Bundle, Offer, Rung, bundle, violations

MOST_LINES = 8
POINTS = 400
# The pages of these last minutes say when each outcome was looked at.
LOOKED_WITHIN = timedelta(minutes=5)


class Outcome(NamedTuple):
    market: Market
    observed_at: datetime | None
    line: int | None  # its number on the chart
    cheaper: Market | None  # a market that is at least as probable and costs less


class Sums(NamedTuple):
    """The bids and asks of all outcomes together.

    Where they seem to give a gain, `apart` tells how far apart they were looked at; quotes of one
    page have one instant.
    """

    bids: Decimal | None
    asks: Decimal | None  # None where an outcome has no ask
    without_ask: int
    apart: timedelta | None
    bundle: Bundle | None

    @property
    def on_one_page(self) -> bool:
        return self.apart == timedelta()


@require_safe
@serves_fragments
def event_detail(request: HttpRequest, ticker: str) -> HttpResponse:
    event = Event.objects.select_related("series").by_ticker(ticker)
    if event is None:
        raise Http404(f"There is no event {ticker}.")
    if event.ticker != ticker:
        return redirect(f"{event.get_absolute_url()}?{request.GET.urlencode()}".rstrip("?"))
    now = datetime.now(UTC)
    sweeps = Sweep.objects.newest_complete_of(*freshness.COVERING_TIERS, at=now)
    markets = list(Market.objects.of_events([event.pk]).with_event())
    outcomes = outcomes_of(markets, sweeps, now)
    context = {
        "event": event,
        "outcomes": outcomes,
        "lines": sorted((each for each in outcomes if each.line), key=lambda each: each.line or 0),
        "sums": sums_of(event, markets, now),
        "ranges": charts.RANGES,
        "now": now,
        "sweeps": sweeps,
    }
    return render(request, template_for(request, "markets/event_detail.html", "outcomes"), context)


@require_safe
def event_chart(request: HttpRequest, ticker: str) -> JsonResponse:
    event = Event.objects.by_ticker(ticker)
    if event is None:
        return JsonResponse(envelope("not_found", f"There is no event {ticker}."), status=404)
    form = charts.ChartForm(request.GET)
    if not form.is_valid():
        refused = envelope("invalid", validation_message(form.errors), details=form.errors)
        return JsonResponse(refused, status=400)
    markets = drawn(Market.objects.of_events([event.pk]).with_event())
    span = form.cleaned_data["range"] or "1d"
    return JsonResponse(chart_of(markets, span, now=datetime.now(UTC)))


def outcomes_of(
    markets: Sequence[Market], sweeps: dict[str, Sweep], now: datetime
) -> list[Outcome]:
    numbers = {market.pk: number for number, market in enumerate(drawn(markets), start=1)}
    cheaper = cheaper_rungs(markets)
    return [
        Outcome(
            market,
            freshness.observed_at(market, sweeps, now=now),
            numbers.get(market.pk),
            cheaper.get(market.pk),
        )
        for market in markets
    ]


def drawn(markets: Iterable[Market]) -> list[Market]:
    """Return the markets that the chart has lines for: the likeliest, then the most traded."""
    return sorted(
        markets,
        key=lambda market: (market.yes_price or 0, market.volume_24h or 0, market.pk),
        reverse=True,
    )[:MOST_LINES]


def cheaper_rungs(markets: Sequence[Market]) -> dict[int, Market]:
    """Return by market a rung of its ladder that is at least as probable and costs less."""
    found: dict[int, Market] = {}
    for strike_type, direction in LADDERS.items():
        ladder = [
            (market, strike)
            for market in markets
            if market.strike_type == strike_type
            and market.status in OPEN_STATUSES
            and (strike := strike_of(market)) is not None
        ]
        rungs = [Rung(strike, market.yes_bid, market.yes_ask) for market, strike in ladder]
        for dear, cheap in violations(rungs, direction).items():
            found[ladder[dear][0].pk] = ladder[cheap][0]
    return found


def strike_of(market: Market) -> Decimal | None:
    return market.floor_strike if market.floor_strike is not None else market.cap_strike


def sums_of(event: Event, markets: Sequence[Market], now: datetime) -> Sums | None:
    """Return the sums of an exclusive event; None of another, whose prices need not fit."""
    opened = [market for market in markets if market.status in OPEN_STATUSES]
    if not event.mutually_exclusive or len(opened) < 2:
        return None
    rate = taker_rate(event)
    offers = [Offer(market.yes_bid, market.yes_bid_size, rate) for market in opened]
    bids = [market.yes_bid for market in opened if market.yes_bid is not None]
    asks = [market.yes_ask for market in opened if market.yes_ask is not None]
    found = bundle(offers, fees.rounding(now, broker=False))
    seems_to_gain = found is not None and (found.gain or 0) > 0
    looks = looked_at(opened, now) if seems_to_gain else []
    return Sums(
        bids=sum(bids, Decimal()) if bids else None,
        asks=sum(asks, Decimal()) if len(asks) == len(opened) else None,
        without_ask=len(opened) - len(asks),
        apart=max(looks) - min(looks) if len(looks) == len(opened) else None,
        bundle=found,
    )


def looked_at(markets: Sequence[Market], now: datetime) -> list[datetime]:
    """Return the instants at which a page or a change showed the quotes that markets have now."""
    ids = [market.pk for market in markets]
    observed = Sweep.objects.observed(ids, now - LOOKED_WITHIN, now, known_by=now)
    found = []
    for place, market in enumerate(markets):
        instants = observed.of_market(place)
        pages = [EPOCH + timedelta(microseconds=int(instants[-1]))] if len(instants) else []
        rows = [market.quoted_at] if market.quoted_at else []
        found += [max(pages + rows)] if pages or rows else []
    return found


def taker_rate(event: Event) -> Rate | None:
    """Return the rate of a taker's fee; an event's own terms override those of its series."""
    own = event.fee_multiplier_override
    multiplier = own if own is not None else event.series.fee_multiplier
    try:
        return fees.rate(event.fee_type_override or event.series.fee_type, multiplier, "taker")
    except UnknownFees:
        return None


def chart_of(markets: Sequence[Market], span: str, *, now: datetime) -> dict[str, Any]:
    """Return the midpoints of markets over one of `charts.RANGES`, and when nothing was observed.

    Times are milliseconds since 1970, prices dollars; a one-sided quote is null.
    """
    width = charts.RANGES[span]
    opened = [market.open_time for market in markets if market.open_time]
    begun = min(opened, default=now - charts.GAPS_WITHIN)
    start = min(max(now - width, begun) if width else begun, now - charts.SHORTEST)
    # What stood at the start was recorded again within a heartbeat before it.
    since = start - timedelta(seconds=settings.HEARTBEAT)
    quotes = MarketSnapshot.objects.recorded().of_markets([market.pk for market in markets])
    bucket = charts.bucket(now - start, points=POINTS)
    lines: dict[int, dict[str, list[Any]]] = {market.pk: {"t": [], "mid": []} for market in markets}
    for market_id, at, bid, ask in quotes.between(since, now).closes_by_market(bucket=bucket):
        mid = prices.mid(bid, ask)
        lines[market_id]["t"].append((at - EPOCH) // charts.MILLISECOND)
        lines[market_id]["mid"].append(None if mid is None else float(mid))
    gaps = silent_times(Interval(max(start, now - charts.GAPS_WITHIN), now))
    return {
        "start": (start - EPOCH) // charts.MILLISECOND,
        "until": (now - EPOCH) // charts.MILLISECOND,
        "gaps": [[(each - EPOCH) // charts.MILLISECOND for each in gap] for gap in gaps],
        "lines": [
            {"ticker": market.ticker, "name": market.name, **lines[market.pk]} for market in markets
        ],
        "simulated": settings.SIMULATED,
    }
