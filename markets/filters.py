"""What lists of markets and of snapshots can be narrowed by, on the pages and on the API."""

from datetime import datetime
from typing import Any

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django.utils.dateparse import parse_datetime

from markets.models import Market, Source, Status
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


class InstantField(django_filters.fields.IsoDateTimeField):
    """An instant. One without an offset would mean different times to different people."""

    def to_python(self, value: Any) -> datetime | None:
        instant: datetime | None = super().to_python(value)
        written = parse_datetime(str(value).strip())
        if written and written.tzinfo is None:
            raise ValidationError("Needs an offset, such as Z or +00:00.")
        return instant


class InstantFilter(django_filters.IsoDateTimeFilter):
    field_class = InstantField


class SpanForm(forms.Form):
    def clean(self) -> dict[str, Any]:
        start, end = self.cleaned_data.get("start"), self.cleaned_data.get("end")
        if start and end and end <= start:
            self.add_error("end", "Must be later than start.")
        return self.cleaned_data


class SnapshotFilter(django_filters.FilterSet):
    start = InstantFilter(
        field_name="timestamp", lookup_expr="gte", label="The first instant of the range."
    )
    end = InstantFilter(
        field_name="timestamp", lookup_expr="lt", label="The instant the range ends before."
    )
    source = django_filters.ChoiceFilter(choices=Source.choices)

    class Meta:
        form = SpanForm
