"""Template tags that write and draw prices, counts and times."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django import template
from django.conf import settings

from markets.coverage import freshness
from markets.kalshi.reach import reason_of
from markets.models import Market, Series, Sweep
from markets.models.recording import CLOCK_TOLERANCE

register = template.Library()

UNKNOWN = "–"
MINUS = "\u2212"
MILLION = Decimal(1_000_000)
STRIKES = {
    "greater": "above {floor}",
    "greater_or_equal": "{floor} or above",
    "less": "below {cap}",
    "less_or_equal": "{cap} or below",
    "between": "{floor} to {cap}",
}
BYTE_UNITS = {10**12: "TB", 10**9: "GB", 10**6: "MB", 10**3: "kB"}
# Sort keys that begin with the largest value.
DESCENDING = ("volume_24h", "open_interest", "change_24h", "yes_price")


def plain(number: Decimal) -> str:
    """Write a number without trailing zeros or an exponent, in groups of three digits."""
    text = f"{number:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@register.filter
def cents(price: Decimal | None) -> str:
    return UNKNOWN if price is None else f"{plain(price * 100)}¢".replace("-", MINUS)


@register.filter
def signed_cents(change: Decimal | None) -> str:
    if not change:
        return cents(change)
    return f"+{cents(change)}" if change > 0 else cents(change)


@register.filter
def direction(change: Decimal | None) -> str:
    if not change:
        return "flat"
    return "up" if change > 0 else "down"


@register.filter
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


@register.filter
def interval_words(quoted: Market) -> str:
    bid = f"bid {cents(quoted.yes_bid)}" if quoted.yes_bid is not None else "no bid"
    ask = f"ask {cents(quoted.yes_ask)}" if quoted.yes_ask is not None else "no ask"
    last = f"last trade {cents(quoted.last_price)}" if quoted.last_price is not None else "no trade"
    return f"{bid}, {ask}, {last}"


@register.filter
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


@register.filter
def since(instant: datetime | None, now: datetime) -> str:
    """Write the time since an instant, or until one in the future, as a wrong clock leaves it."""
    if instant is None:
        return UNKNOWN
    if instant > now + CLOCK_TOLERANCE:
        return f"in {duration(instant - now)}"
    return duration(now - instant)


@register.filter
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


@register.filter
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


@register.filter
def seconds(number: float | None) -> str:
    """Write whole seconds from ten on, and tenths below."""
    if number is None:
        return UNKNOWN
    return f"{number:,.0f} s" if number >= 10 else f"{number:.1f} s"


@register.filter
def size(number: float | None) -> str:
    """Write a number of bytes in the largest of its units."""
    if number is None:
        return UNKNOWN
    for unit, name in BYTE_UNITS.items():
        if number >= unit:
            return f"{number / unit:.{0 if number >= 100 * unit else 1}f} {name}"
    return f"{number:.0f} B"


@register.filter
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
def observed_at(market: Market, sweeps: Mapping[str, Sweep], now: datetime) -> datetime | None:
    return freshness.observed_at(market, sweeps, now=now)


@register.simple_tag
def querystring_of(**parameters: str) -> str:
    """Return a query string of these parameters alone, without those of the page."""
    return f"?{urlencode(parameters)}"


@register.simple_tag
def simulated() -> bool:
    return settings.SIMULATED


@register.inclusion_tag("components/interval.html")
def interval(quoted: Market, size: str = "") -> dict[str, str]:
    """Return positions on a track from 0 to 100; empty for a missing price."""
    prices = {"bid": quoted.yes_bid, "ask": quoted.yes_ask, "last": quoted.last_price}
    positions = {
        name: "" if price is None else f"{price * 100:.2f}" for name, price in prices.items()
    }
    return {**positions, "size": size}


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
def series_name(series: Series) -> str:
    return series.title or series.ticker
