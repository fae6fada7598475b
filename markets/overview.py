"""The overview: whether the recording is whole, and what the markets are doing."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.core.exceptions import ObjectDoesNotExist

from markets.coverage.causes import Gap, outages
from markets.intervals import Interval
from markets.models import ListedMarket, Market, Poll
from markets.models.hours import reference_hours
from markets.models.listed_markets import DOLLAR, ListedMarketQuerySet

DAY = timedelta(days=1)
TILE_SIZE = 6
LEAST_WIDTH = 0.2  # of the strip in percent, so that a short outage is seen


class Row(NamedTuple):
    market: Market
    moved: Decimal | None  # dollars


class Tile(NamedTuple):
    """Markets under a heading; `query` is that of the list which goes on with them."""

    key: str
    heading: str
    note: str
    query: Mapping[str, str]
    rows: list[Row]


class Outage(NamedTuple):
    """A gap of the recording as a piece of the strip, in percent of its width."""

    left: float
    width: float
    gap: Gap


class Uptime(NamedTuple):
    window: Interval
    share: float | None  # of the time since the record began
    outages: list[Outage]
    unrecorded: float  # percent of the strip that lies before the record began


class Choice(NamedTuple):
    """The markets of a tile, their order, and the value by which they are sorted."""

    heading: str
    markets: ListedMarketQuerySet
    ordering: str
    value: Callable[[Market], Any]
    note: str = ""
    narrowed: Mapping[str, str] = {}


def choices(now: datetime) -> list[Choice]:
    hour_ago, day_ago = reference_hours(now)
    opened = ListedMarket.objects.open()
    return [
        Choice(
            "Moving now",
            opened.compared("hour_ago"),
            "-move_1h",
            lambda market: abs(moved(market, "hour_ago") or 0),
            f"since {hour_ago:%H:%M} UTC",
        ),
        Choice(
            "Moved in a day",
            opened.compared("day_ago"),
            "-move_24h",
            lambda market: abs(moved(market, "day_ago") or 0),
            f"since yesterday, {day_ago:%H:%M} UTC",
        ),
        Choice(
            "Most active",
            opened.traded(),
            "-volume_24h",
            lambda market: market.volume_24h,
            "contracts in 24 h",
        ),
        Choice(
            "Widest spreads",
            opened.traded().two_sided(True),
            "-spread",
            lambda market: market.spread,
            "of markets traded in 24 h",
            {"volume_min": "1", "two_sided": "true"},
        ),
        Choice(
            "Closing soon",
            opened.closing_after(now),
            "close_time",
            lambda market: market.close_time,
            narrowed={"closes_after": f"{now:%Y-%m-%dT%H:%M:%SZ}"},
        ),
    ]


def tiles(now: datetime) -> list[Tile]:
    """Return the tiles of markets, in three queries."""
    chosen = choices(now)
    lists = {choice.ordering: choice.markets for choice in chosen}
    ids = ListedMarket.objects.firsts(lists, TILE_SIZE)
    shown = Market.objects.filter(pk__in={id for each in ids.values() for id in each})
    markets = {market.pk: market for market in shown.with_event().with_past()}
    settled = Market.objects.just_settled(at=now).with_event()[:TILE_SIZE]
    return [
        *(tile(choice, [markets[id] for id in ids[choice.ordering]]) for choice in chosen),
        Tile("settled", "Just settled", "", {"status": "settled"}, [Row(m, None) for m in settled]),
    ]


def tile(choice: Choice, markets: list[Market]) -> Tile:
    descending = choice.ordering.startswith("-")
    key = choice.ordering.removeprefix("-")
    past = {"move_1h": "hour_ago", "move_24h": "day_ago"}.get(key)
    rows = [
        Row(market, moved(market, past) if past else None)
        for market in sorted(markets, key=choice.value, reverse=descending)
    ]
    return Tile(
        key, choice.heading, choice.note, {"ordering": choice.ordering, **choice.narrowed}, rows
    )


def moved(market: Market, past: str) -> Decimal | None:
    """Return by how many dollars a midpoint has moved since then; None where either is unknown."""
    try:
        before = getattr(market.listed.past, past)
    except ObjectDoesNotExist:
        return None
    if before is None or market.yes_price is None:
        return None
    return market.yes_price - Decimal(before) / DOLLAR


# --- Uptime ---------------------------------------------------------------------------------------


def uptime(gaps: Sequence[Gap], began: datetime | None, window: Interval) -> Uptime:
    """Return how much of a window up to now was recorded, less the time before the record began.

    The gaps are those of `outages` in this window or a longer one.
    """
    if began is None or began >= window.end:
        return Uptime(window, None, [], 100.0)
    recorded = Interval(max(window.start, began), window.end)
    within = [gap for gap in gaps if gap.end > recorded.start and gap.start < recorded.end]
    lost = sum((lost_within(gap, recorded) for gap in within), timedelta())
    before = 100 * ((recorded.start - window.start) / window.length)
    return Uptime(
        window, 1 - lost / recorded.length, [piece(gap, window) for gap in within], before
    )


def uptime_of_day(now: datetime) -> Uptime:
    return uptime(outages(now - DAY, now), Poll.objects.began(), Interval(now - DAY, now))


def lost_within(gap: Gap, window: Interval) -> timedelta:
    """Return the time that a gap has cost; where nobody could trade it has cost none."""
    if not gap.counted:
        return timedelta()
    return min(gap.end, window.end) - max(gap.start, window.start)


def piece(gap: Gap, window: Interval) -> Outage:
    left = 100 * (max(gap.start, window.start) - window.start) / window.length
    right = 100 * (min(gap.end, window.end) - window.start) / window.length
    return Outage(left, max(right - left, LEAST_WIDTH), gap)
