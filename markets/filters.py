"""What a list of markets, or of snapshots, can be narrowed by: the same on the pages and the API."""

from typing import Any

import django_filters
from django.db.models import QuerySet

from markets.models import Market, MarketSnapshot, Source, Status
from markets.querysets import MarketQuerySet

# Kalshi's filter words, each for the stages of life that it spans.
STATUS_WORDS = {
    "unopened": (Status.INITIALIZED,),
    "open": (Status.ACTIVE, Status.INACTIVE),
    "closed": (Status.CLOSED, Status.DETERMINED, Status.DISPUTED, Status.AMENDED),
    "settled": (Status.FINALIZED,),
}
STATUS_CHOICES = [
    ("all", "All"),
    *((word, word.capitalize()) for word in STATUS_WORDS),
    *((value, label) for value, label in Status.choices if value not in STATUS_WORDS),
]


class MarketFilter(django_filters.FilterSet):
    q = django_filters.CharFilter(
        method="search", label="Words found in the ticker, title, outcome or event."
    )
    status = django_filters.ChoiceFilter(
        method="in_status",
        choices=STATUS_CHOICES,
        label="A stage of life, or unopened, open, closed (until settled), settled and all.",
    )
    category = django_filters.CharFilter(field_name="event__series__category")
    series = django_filters.CharFilter(field_name="event__series__ticker")
    event = django_filters.CharFilter(field_name="event__ticker")

    class Meta:
        model = Market
        fields: list[str] = []

    def search(self, queryset: MarketQuerySet, name: str, words: str) -> MarketQuerySet:
        return queryset.search(words)

    def in_status(self, queryset: MarketQuerySet, name: str, word: str) -> MarketQuerySet:
        if word == "all":
            return queryset
        return queryset.filter(status__in=STATUS_WORDS.get(word, (word,)))


class SnapshotFilter(django_filters.FilterSet):
    start = django_filters.IsoDateTimeFilter(
        field_name="timestamp", lookup_expr="gte", label="The first instant of the range."
    )
    end = django_filters.IsoDateTimeFilter(
        field_name="timestamp", lookup_expr="lt", label="The instant the range ends before."
    )
    source = django_filters.ChoiceFilter(choices=Source.choices)

    class Meta:
        model = MarketSnapshot
        fields: list[str] = []
