"""How runs and their money are written."""

from datetime import datetime
from decimal import Decimal

from django import template

from backtests import report
from backtests.data.universe import MONEY
from backtests.models import BacktestResult
from markets.templatetags.quotes import count

register = template.Library()

NAMED = 3


@register.filter
def money(dollars: Decimal | None) -> str:
    return report.UNKNOWN if dollars is None else report.money(int(dollars * MONEY)).text


@register.filter
def gain(dollars: Decimal | None) -> str:
    return report.UNKNOWN if dollars is None else report.gain(int(dollars * MONEY)).text


@register.filter
def percent(share: float | None) -> str:
    return report.UNKNOWN if share is None else f"{share:.0%}"


@register.filter
def universe(run: BacktestResult) -> str:
    """What a run is of, by name; of many the first."""
    names = [*run.series, *run.events, *run.tickers]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


@register.filter
def minute(instant: datetime) -> str:
    return f"{instant:%-d %b %Y, %H:%M}"


@register.filter
def window(run: BacktestResult) -> str:
    start, end = run.start, run.end
    until = f"{end:%H:%M}" if start.date() == end.date() else minute(end)
    return f"{minute(start)} – {until}"


@register.filter
def setting(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else value


@register.filter
def held(position: Decimal) -> str:
    """A position by its side."""
    return f"{count(abs(position))} {'YES' if position > 0 else 'NO'}" if position else "none"
