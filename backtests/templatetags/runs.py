"""Template filters that format runs and their money."""

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from django import template

from backtests import report_figures as figures
from backtests.data.universe import CONTRACT, MONEY
from backtests.models import RequestedRun

register = template.Library()
T = TypeVar("T")

NAMES_SHOWN = 3


@register.filter
def pairs(named: Mapping[str, T]) -> list[tuple[str, T]]:
    """Return names and values, also where one of the names is `items`."""
    return list(named.items())


@register.filter
def indented_json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


@register.filter
def money(dollars: Decimal | None) -> str:
    return figures.UNKNOWN if dollars is None else figures.money(int(dollars * MONEY)).text


@register.filter
def gain(dollars: Decimal | None) -> str:
    return figures.UNKNOWN if dollars is None else figures.gain(int(dollars * MONEY)).text


@register.filter
def percent(share: float | None) -> str:
    return figures.UNKNOWN if share is None else figures.rate(share).text


@register.filter
def seconds(length: float | None) -> str:
    return figures.UNKNOWN if length is None else figures.seconds(length).text


@register.filter
def universe(run: RequestedRun) -> str:
    """The names of a run's series, events and markets; of many, the first ones."""
    names = [*run.series, *run.events, *run.tickers]
    rest = len(names) - NAMES_SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


@register.filter
def values(params: Mapping[str, object]) -> str:
    """Parameters in a line."""
    return ", ".join(f"{name} {setting(value)}" for name, value in params.items())


@register.filter
def minute(instant: datetime) -> str:
    return f"{instant:%-d %b %Y, %H:%M}"


@register.filter
def window(run: RequestedRun) -> str:
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
    """A position with its side, such as 10 NO."""
    if not position:
        return "none"
    count = figures.contracts(int(abs(position) * CONTRACT)).text
    return f"{count} {'YES' if position > 0 else 'NO'}"
