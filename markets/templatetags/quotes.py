"""Template tags that write and draw prices, counts and times."""

import html
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache, wraps
from math import floor
from typing import Any, ParamSpec
from urllib.parse import urlencode

from django import template
from django.conf import settings
from django.urls import reverse
from django.utils.safestring import SafeString

from markets.coverage import freshness
from markets.kalshi.reach import reason_of
from markets.models import Market, Series, Status, Sweep
from markets.models.recording import CLOCK_TOLERANCE

register = template.Library()
P = ParamSpec("P")

UNKNOWN = "–"
NOTHING, MUTED = SafeString(""), SafeString("muted")
MINUS = "\u2212"
MILLION = Decimal(1_000_000)
STRIKES = {
    "greater": "above {floor}",
    "greater_or_equal": "{floor} or above",
    "less": "below {cap}",
    "less_or_equal": "{cap} or below",
    "between": "{floor} to {cap}",
}
# The track of `interval`, with room for the class of its size and for its marks.
TRACK = """<svg class="interval{size}" viewBox="0 0 100 14" preserveAspectRatio="none"\
 aria-hidden="true"><path class="track" d="M0 7H100" />{marks}</svg>"""
SPARK_HEIGHT = 16
LEAST_RANGE = 4_000  # in 1/100,000 dollar
SPARK = """<svg class="spark" viewBox="0 -1 {width} 18" preserveAspectRatio="none"\
 aria-hidden="true"><path d="{path}" /></svg>"""
BYTE_UNITS = {10**12: "TB", 10**9: "GB", 10**6: "MB", 10**3: "kB"}
# Sort keys that begin with the largest value.
DESCENDING = (
    "volume_24h", "open_interest", "change_24h", "yes_price",
    "pnl", "test_pnl", "fees", "fills", "events", "sharpe",
)  # fmt: skip


def figure(write: Callable[P, str]) -> Callable[P, SafeString]:
    """Register a filter that writes figures and words of ours, which need no escaping.

    Escaping takes longer than all the rest of a figure.
    """

    @register.filter
    @wraps(write)
    def safe(*args: P.args, **kwargs: P.kwargs) -> SafeString:
        return SafeString(write(*args, **kwargs))

    return safe


def plain(number: Decimal) -> str:
    """Write a number without trailing zeros or an exponent, in groups of three digits."""
    text = f"{number:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@figure
def cents(price: Decimal | None) -> str:
    return UNKNOWN if price is None else f"{plain(price * 100)}¢".replace("-", MINUS)


@figure
def signed_cents(change: Decimal | None) -> str:
    if not change:
        return cents(change)
    return f"+{cents(change)}" if change > 0 else cents(change)


@figure
def direction(change: Decimal | None) -> str:
    if not change:
        return "flat"
    return "up" if change > 0 else "down"


@figure
def count(number: Decimal | int | None) -> str:
    """Write a number of contracts: large ones in millions, fractions only below a hundred."""
    if number is None:
        return UNKNOWN
    exact = Decimal(number)
    if abs(exact) >= 10 * MILLION:
        return f"{exact / MILLION:,.1f}M"
    return plain(exact) if abs(exact) < 100 else f"{int(exact):,}"


@register.filter
def interval_text(quoted: Market) -> str:
    """Write the interval from bid to ask in cents, or the result if the market has one."""
    bid, ask = quoted.yes_bid, quoted.yes_ask
    if quoted.result:
        return (
            cents(quoted.settlement_value) if quoted.result == "scalar" else quoted.result.upper()
        )
    if bid is None and ask is None:
        return "no quotes"
    if bid is None or bid == ask:
        return cents(ask) if bid is not None else f"≤ {cents(ask)}"
    return f"≥ {cents(bid)}" if ask is None else f"{plain(bid * 100)}–{cents(ask)}"


@figure
def interval_words(quoted: Market) -> str:
    bid = f"bid {cents(quoted.yes_bid)}" if quoted.yes_bid is not None else "no bid"
    ask = f"ask {cents(quoted.yes_ask)}" if quoted.yes_ask is not None else "no ask"
    last = f"last trade {cents(quoted.last_price)}" if quoted.last_price is not None else "no trade"
    return f"{bid}, {ask}, {last}"


@figure
def percent(share: float | None) -> str:
    """Write a share in per cent; 100 % means all of it."""
    return UNKNOWN if share is None else f"{floor(share * 1000) / 10:.1f} %"


@figure
def share(value: float | None) -> str:
    """Write a share in per cent, rounded; 1 is all of it."""
    return UNKNOWN if value is None else f"{100 * value:.1f} %".replace("-", MINUS)


@figure
def signed_share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{100 * value:+.1f} %".replace("-", MINUS)


@figure
def share_of_dollar(value: float) -> str:
    """Write a price or a worth that is a share of a dollar."""
    return cents(round(Decimal(value), 5))


@figure
def share_cents(value: float) -> str:
    """Write the edge of a bin in cents, without their sign."""
    return f"{100 * value:.0f}"


@figure
def dollars_as_cents(price: str | None) -> str:
    return cents(None if price is None else Decimal(price))


@figure
def score(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.4f}".replace("-", MINUS)


@figure
def duration(time: timedelta | None) -> str:
    """Write a duration in its one or two largest units."""
    if time is None:
        return UNKNOWN
    seconds = max(int(time.total_seconds()), 0)
    if seconds < 60:
        return f"{seconds} s" if seconds else "<1 s"
    for unit, smaller, name, short in ((86_400, 3_600, "d", "h"), (3_600, 60, "h", "m")):
        if seconds >= unit:
            rest = seconds % unit // smaller
            return (
                f"{seconds // unit} {name} {rest} {short}" if rest else f"{seconds // unit} {name}"
            )
    return f"{seconds // 60} m"


@figure
def since(instant: datetime | None, now: datetime) -> str:
    """Write the time since an instant, or until one in the future, as a wrong clock leaves it."""
    if instant is None:
        return UNKNOWN
    if instant > now + CLOCK_TOLERANCE:
        return f"in {duration(instant - now)}"
    return duration(now - instant)


@figure
def clock_words(fault: freshness.ClockFault) -> str:
    """Say what is wrong with the clock; empty where nothing is."""
    wrong = fault.ahead_of_exchange
    if wrong is not None:
        return (
            f"the clock is {duration(abs(wrong))} {'ahead' if wrong > timedelta(0) else 'behind'}"
        )
    if fault.record_ahead is not None:
        return f"runs on record lie {duration(fault.record_ahead)} in the future"
    return ""


@figure
def until(instant: datetime | None, now: datetime) -> str:
    if instant is None:
        return UNKNOWN
    return duration(instant - now) if instant > now else "over"


@register.filter
def short_error(error: str) -> str:
    """Shorten an error to the tier or the exception class, and the reason; the rest names hosts."""
    where, reason = error.partition(":")[0], reason_of(error)
    return f"{where}: {reason}" if reason else where


@register.filter
def get(mapping: Mapping[str, Any], key: str) -> Any:
    return mapping.get(key)


@figure
def seconds(number: float | None) -> str:
    """Write whole seconds from ten on, and tenths below."""
    if number is None:
        return UNKNOWN
    return f"{number:,.0f} s" if number >= 10 else f"{number:.1f} s"


@figure
def size(number: float | None) -> str:
    """Write a number of bytes in the largest of its units."""
    if number is None:
        return UNKNOWN
    for unit, name in BYTE_UNITS.items():
        if number >= unit:
            return f"{number / unit:.{0 if number >= 100 * unit else 1}f} {name}"
    return f"{number:.0f} B"


@figure
def utc(instant: datetime | None) -> str:
    return f"{instant:%-d %b %Y, %H:%M:%S} UTC" if instant else UNKNOWN


@register.filter
def strike(market: Market) -> str:
    form = STRIKES.get(market.strike_type)
    floor, cap = market.floor_strike, market.cap_strike
    if form is None or ("{floor}" in form and floor is None) or ("{cap}" in form and cap is None):
        return market.strike_type.replace("_", " ") or UNKNOWN
    return form.format(
        floor=plain(floor) if floor is not None else "", cap=plain(cap) if cap is not None else ""
    )


@register.filter
def grid(market: Market) -> str:
    """Write the price steps, each with its range if there are several."""
    ranges = [{k: Decimal(v) for k, v in r.items()} for r in market.price_ranges]
    if len(ranges) == 1:
        return f"{cents(ranges[0]['step'])} steps"
    steps = [
        f"{cents(r['step'])} from {plain(r['start'] * 100)} to {cents(r['end'])}" for r in ranges
    ]
    return "; ".join(steps) or UNKNOWN


@register.filter
def fees(market: Market) -> str:
    """Write the fee terms in the exchange's words; an event's own override the series'."""
    event, series = market.event, market.event.series
    fee_type = event.fee_type_override or series.fee_type
    own = event.fee_multiplier_override
    multiplier = own if own is not None else series.fee_multiplier
    if not fee_type or multiplier is None:
        return UNKNOWN
    return f"{fee_type.replace('_', ' ')}, × {plain(multiplier)}"


@register.simple_tag
def market_cells(
    market: Market,
    sweeps: Mapping[str, Sweep],
    now: datetime,
    hours: Sequence[datetime] = (),
) -> dict[str, SafeString]:
    """Return what a row of the list shows of a market, as texts that need no more escaping.

    A list has fifty rows, and each look-up of an attribute, filter and escape in a template costs
    more than all of a cell here. Unknown is as the filters write it; empty cells are left out.
    """
    title, name = escaped(market.event.title), escaped(market.name)
    seen = freshness.observed_at(market, sweeps, now=now)
    has_quote = market.yes_bid is not None or market.yes_ask is not None or market.result
    return {
        "ticker": escaped(market.ticker),
        "address": address_of(market.ticker),
        "event": title,
        "name": name,
        "title": title or escaped(market.title),
        "outcome": name if name != title else NOTHING,
        "status": escaped(market.status) if market.status != Status.ACTIVE else NOTHING,
        "quote": escaped(interval_text(market)),
        "quote_words": interval_words(market),
        "quote_class": NOTHING if has_quote else MUTED,
        "track": interval(market),
        "sparkline": sparkline(market, hours) if hours else NOTHING,
        "change": signed_cents(market.change_24h),
        "direction": direction(market.change_24h),
        "spread": cents(market.spread),
        "volume": count(market.volume_24h),
        "open_interest": count(market.open_interest),
        "closes_at": utc(market.close_time),
        "closes_in": until(market.close_time, now),
        "seen_at": utc(seen),
        "age": since(seen, now),
    }


@lru_cache(maxsize=10_000)
def address_of(ticker: str) -> SafeString:
    """Return a market's address; cached, because making one takes a tenth of its row's time."""
    return escaped(reverse("markets:detail", args=[ticker]))


def escaped(text: str) -> SafeString:
    return SafeString(html.escape(text))


@register.simple_tag
def observed_at(market: Market, sweeps: Mapping[str, Sweep], now: datetime) -> datetime | None:
    return freshness.observed_at(market, sweeps, now=now)


@register.simple_tag
def querystring_of(**parameters: str) -> str:
    """Return a query string of these parameters alone, without those of the page."""
    return f"?{urlencode(parameters)}"


@register.simple_tag
def querystring_of_items(parameters: Mapping[str, str]) -> str:
    return f"?{urlencode(parameters)}"


@register.simple_tag
def simulated() -> bool:
    return settings.SIMULATED


@register.simple_tag
def interval(quoted: Market, size: str = "") -> SafeString:
    """Draw bid, ask and last price on a track from 0 to 100; a missing one is left out.

    A page draws dozens of them, which takes a template ten times as long.
    """
    bid, ask, last = map(position, (quoted.yes_bid, quoted.yes_ask, quoted.last_price))
    marks = f'<path class="last" d="M{last} 0V14" />' if last else ""
    if bid and ask:
        marks += f'<path class="band" d="M{bid} 7H{ask}" />'
    elif bid:
        marks += f'<path class="open" d="M{bid} 7H100" />'
    elif ask:
        marks += f'<path class="open" d="M{ask} 7H0" />'
    marks += "".join(f'<path class="end" d="M{end} 3V11" />' for end in (bid, ask) if end)
    return SafeString(TRACK.format(size=f" interval-{escaped(size)}" if size else "", marks=marks))


def sparkline(market: Market, hours: Sequence[datetime]) -> SafeString:
    """Draw the midpoints of a market by hour; an hour without one is left out.

    It takes its own range, but at least `LEAST_RANGE`, so that a calm market looks calm.
    """
    prices = dict(zip(market.spark_hours, market.spark_prices, strict=True))
    if not prices:
        return NOTHING
    low, high = min(prices.values()), max(prices.values())
    scale = SPARK_HEIGHT / max(high - low, LEAST_RANGE)
    middle, drawn, pen = (low + high) / 2, "", "M"
    for place, hour in enumerate(hours):
        price = prices.get(hour)
        if price is None:
            pen = "M"
            continue
        drawn += f"{pen}{place} {SPARK_HEIGHT / 2 - (price - middle) * scale:.1f}"
        # A point alone is seen as a dot.
        drawn += "h0" if pen == "M" else ""
        pen = "L"
    return SafeString(SPARK.format(width=len(hours) - 1, path=drawn))


def position(price: Decimal | None) -> str:
    return "" if price is None else f"{price * 100:.2f}"


@register.inclusion_tag("components/sort_header.html", takes_context=True)
def sort_header(context: template.Context, label: str, key: str, kind: str = "") -> dict[str, Any]:
    """Return a column's header; its link sorts by the column, or reverses its order."""
    order: str = context["order"]
    first = f"-{key}" if key in DESCENDING else key
    reverse = key if first.startswith("-") else f"-{key}"
    direction = "descending" if order.startswith("-") else "ascending"
    return {
        "label": label,
        "kind": kind,
        "query": context["query"],
        "ordering": reverse if order == first else first,
        "direction": direction if order.removeprefix("-") == key else "",
    }


@register.filter
def comma_separated(text: str) -> list[str]:
    return text.split(",")


@register.filter
def series_name(series: Series) -> str:
    return series.title or series.ticker
