"""The columns of markets that lists filter, count and sort by.

A list of 80,000 markets reads every one of them, to sort them or to count them by category. Their
own rows are wide, so what lists go by stands here once more, in a sixth of the pages. The
database itself keeps it so (`markets_list_…`, triggers of migration 0016), in the transaction that
changes a market, its quote or its event, whoever writes. No column that moves with a quote has an
index: an update would have to follow in each (see `docs/performance.md`).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Self

from django.db import models
from django.db.models import Exists, F, OuterRef, Subquery, Value
from django.db.models.functions import Abs

from markets.models.events import Event, Series
from markets.models.fields import OrderKey, manager_of, order_terms
from markets.models.markets import OPEN_STATUSES, Market, MarketQuerySet
from markets.models.search import MarketSearchText, Place

# Whole numbers are sorted in half the time of decimals: parts of a dollar, half a step of the
# finest price, and parts of a contract.
DOLLAR = 100_000
CONTRACT = 100
ORDERS = {
    "ticker": OrderKey(F("ticker"), nullable=False),
    "volume_24h": OrderKey(F("volume_24h")),
    "open_interest": OrderKey(F("open_interest")),
    "spread": OrderKey(F("spread")),
    "change_24h": OrderKey(F("change_24h")),
    # In either direction, by the midpoints that maintenance keeps (`PastPrice`).
    "move_1h": OrderKey(Abs(F("yes_price") - F("past__hour_ago"))),
    "move_24h": OrderKey(Abs(F("yes_price") - F("past__day_ago"))),
    "yes_price": OrderKey(F("yes_price")),
    "close_time": OrderKey(F("close_time")),
}


class ListedMarketQuerySet(models.QuerySet["ListedMarket"]):
    def search(self, words: Iterable[str]) -> Self:
        """Markets whose ticker, title, outcome and event have every one of the words."""
        words = list(words)
        texts = MarketSearchText.objects.matching(words)
        return self.filter(pk__in=texts.values("pk")) if words else self

    def at(self, place: Place) -> Self:
        """The market of a place, or all markets of its event or series."""
        if place.market:
            return self.filter(ticker=place.market)
        if place.event:
            return self.filter(event__ticker=place.event)
        return self.filter(series__ticker=place.series)

    def in_stage(self, statuses: Iterable[str]) -> Self:
        return self.filter(status__in=list(statuses))

    def open(self) -> Self:
        return self.in_stage(OPEN_STATUSES)

    def traded(self) -> Self:
        """Markets with trades in the last 24 hours."""
        return self.filter(volume_24h__gt=0)

    def closing_after(self, at: datetime) -> Self:
        return self.filter(close_time__gt=at)

    def compared(self, past: str) -> Self:
        """Two-sided markets whose midpoint can be compared with one of `PastPrice`."""
        return self.two_sided(True).filter(**{f"past__{past}__isnull": False})

    def midpoint_from(self, least: Decimal) -> Self:
        """Two-sided markets with a midpoint of at least this."""
        return self.filter(yes_price__gte=int(least * DOLLAR))

    def midpoint_to(self, most: Decimal) -> Self:
        return self.filter(yes_price__lte=int(most * DOLLAR))

    def spread_to(self, most: Decimal) -> Self:
        return self.filter(spread__lte=int(most * DOLLAR))

    def volume_from(self, least: Decimal) -> Self:
        """Markets with at least this many contracts traded in 24 hours."""
        return self.filter(volume_24h__gte=int(least * CONTRACT))

    def volume_to(self, most: Decimal) -> Self:
        return self.filter(volume_24h__lte=int(most * CONTRACT))

    def interest_from(self, least: Decimal) -> Self:
        return self.filter(open_interest__gte=int(least * CONTRACT))

    def two_sided(self, value: bool) -> Self:
        return self.filter(yes_price__isnull=not value)

    def updated_since(self, at: datetime) -> Self:
        """Markets whose quote or definition changed at this instant or later."""
        return self.filter(changed_at__gte=at)

    def known_at(self, at: datetime) -> Self:
        """Markets that were known at an instant."""
        known = manager_of("MarketRevision").recorded()
        known = known.filter(market_id=OuterRef("pk"), known_at__lte=at)
        status = Subquery(known.order_by("-known_at").values("status")[:1])
        # The status costs a look-up only where a filter asks for it.
        return self.filter(Exists(known)).alias(known_status=status)

    def in_status_as_of(self, statuses: Iterable[str]) -> Self:
        """Narrow `known_at` to markets that were in one of these statuses at that instant."""
        return self.filter(known_status__in=list(statuses))

    def categories(self) -> dict[str, int]:
        """Count these markets by category."""
        counted = self.order_by("series__category").values_list("series__category")
        return dict(counted.annotate(count=models.Count("pk")))

    def ordered_by(self, *keys: str) -> Self:
        """Order by keys of `ORDERS`; unknown values come last, ties go by ticker."""
        return self.order_by(*order_terms(ORDERS, keys), "ticker")

    def firsts(self, lists: Mapping[str, Self], size: int) -> dict[str, list[int]]:
        """Return the ids of the first markets of several ordered lists, in one query.

        The lists are keyed by a key of `ORDERS`; the ids of each come in no order.
        """
        parts = [
            listed.ordered_by(key).annotate(list=Value(key)).values_list("list", "pk")[:size]
            for key, listed in lists.items()
        ]
        found: dict[str, list[int]] = {key: [] for key in lists}
        for key, id in parts[0].union(*parts[1:], all=True):
            found[key].append(id)
        return found

    def page(self, *, first: int, size: int, count: int) -> MarketQuerySet:
        """Return the markets of a page of the `count` in this list, in its order.

        The second half is sorted from its end, which takes the time of the first half.
        """
        end = min(first + size, count)
        if first >= count:
            ids = []
        elif first > count // 2:
            ids = list(self.reverse().values_list("pk", flat=True)[count - end : count - first])
            ids.reverse()
        else:
            ids = list(self.values_list("pk", flat=True)[first : first + size])
        return Market.objects.in_order(ids)

    def by_ticker(self, part: slice) -> MarketQuerySet:
        """Return a part of a list in the order of tickers, however long, without its ids."""
        ids = self.order_by("ticker").values("pk")[part]
        return Market.objects.filter(pk__in=ids).order_by("ticker")

    def markets(self) -> MarketQuerySet:
        """Return the markets of this slice of a list, in its order."""
        return Market.objects.in_order(list(self.values_list("pk", flat=True)))


class ListedMarket(models.Model):
    """A market's columns that lists go by; prices in 1/100,000 dollar, counts in 1/100 contract."""

    market = models.OneToOneField(Market, models.CASCADE, primary_key=True, related_name="listed")
    # What is referred to is sure to be there, because the market refers to it too.
    event = models.ForeignKey(Event, models.DO_NOTHING, db_constraint=False, related_name="+")
    series = models.ForeignKey(Series, models.DO_NOTHING, db_constraint=False, related_name="+")
    close_time = models.DateTimeField(null=True)
    changed_at = models.DateTimeField(
        help_text="The last change of the quote or of the definition, whichever is later."
    )
    volume_24h = models.BigIntegerField(null=True)
    open_interest = models.BigIntegerField(null=True)
    yes_price = models.IntegerField(null=True, help_text="The midpoint of a two-sided book.")
    spread = models.IntegerField(null=True)
    change_24h = models.IntegerField(null=True)
    ticker = models.CharField(max_length=200, db_collation="C")
    status = models.CharField(max_length=50)

    objects = ListedMarketQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["ticker"], name="listed_ticker"),
            models.Index(fields=["status"], name="listed_status"),
        ]

    def __str__(self) -> str:
        return self.ticker
