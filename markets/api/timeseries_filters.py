"""What the series of one market can be narrowed by: stretches of time, above all."""

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django_filters.utils import translate_validation
from rest_framework.request import Request

from markets.api.candlesticks import INTERVALS, Window
from markets.filters import AS_OF, InstantField, InstantFilter, PastInstantField, SpanForm, truth
from markets.models import Source
from markets.models.trades import TradeQuerySet

F = TypeVar("F", bound=forms.Form)

A_DAY = timedelta(days=1)
MOST_BUCKETS = 10_000
MOST_LEVELS = 1_000
MOST_COVERED = timedelta(days=31)
START = "The first instant of the range, with its offset, such as 2026-11-20T12:00:00Z."
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
END = "The instant that the range ends before, with its offset."


# --- Rows in a range ----------------------------------------------------------------------------


def first_instant(field: str) -> InstantFilter:
    return InstantFilter(field_name=field, lookup_expr="gte", label=START)


def instant_after(field: str) -> InstantFilter:
    return InstantFilter(field_name=field, lookup_expr="lt", label=END)


class SnapshotFilter(django_filters.FilterSet):
    start = first_instant("timestamp")
    end = instant_after("timestamp")
    source = django_filters.ChoiceFilter(
        choices=Source.choices, label="How it was observed; without it, in any way."
    )

    class Meta:
        form = SpanForm


class TradeFilter(django_filters.FilterSet):
    start = first_instant("created_time")
    end = instant_after("created_time")
    block = truth(
        "Only blocks, negotiated outside the book (true), or only the others (false).",
        method="of_kind",
    )

    class Meta:
        form = SpanForm

    def of_kind(self, queryset: TradeQuerySet, name: str, block: bool) -> TradeQuerySet:
        return queryset.blocks() if block else queryset.in_the_book()


class RevisionFilter(django_filters.FilterSet):
    start = first_instant("known_at")
    end = instant_after("known_at")

    class Meta:
        form = SpanForm


# --- What is computed over a range --------------------------------------------------------------


def within_memory(at: datetime) -> None:
    if not EARLIEST <= at < LATEST:
        raise ValidationError(f"Must lie between {EARLIEST.year} and {LATEST.year}.")


class RangeForm(SpanForm):
    """A range that ends now and begins a day before its end, unless told otherwise."""

    start = InstantField(required=False, label=START, validators=[within_memory])
    end = InstantField(required=False, label=END, validators=[within_memory])

    def clean(self) -> dict[str, Any]:
        super().clean()
        if not self.errors:
            end = self.cleaned_data["end"] or datetime.now(UTC)
            start = self.cleaned_data["start"] or end - A_DAY
            self.cleaned_data |= {"start": start, "end": end}
            if start >= end:
                self.add_error("start", "Lies in the future.")
            elif objection := self.objection(start, end):
                self.add_error("start", objection)
        return self.cleaned_data

    def objection(self, start: datetime, end: datetime) -> str:
        """What is too much about a range; "" as a rule."""
        return ""


class CoverageForm(RangeForm):
    def objection(self, start: datetime, end: datetime) -> str:
        too_long = end - start > MOST_COVERED
        return f"At most {MOST_COVERED.days} days before end." if too_long else ""


class CandlestickForm(RangeForm):
    """Also tells the `window` of whole buckets."""

    interval = forms.ChoiceField(
        required=False, choices=[(word, word) for word in INTERVALS], label="The buckets' width."
    )
    source = forms.ChoiceField(
        required=False, choices=[("", "---------"), *Source.choices], label="How it was observed."
    )

    def objection(self, start: datetime, end: datetime) -> str:
        width = INTERVALS[self.cleaned_data["interval"] or "1m"]
        window = self.cleaned_data["window"] = Window.around(start, end, width)
        if window.buckets <= MOST_BUCKETS:
            return ""
        return f"Up to end these are {window.buckets:,} buckets; at most {MOST_BUCKETS:,}."


class DepthField(forms.Field):
    def to_python(self, value: str | None) -> int | None:
        if not value:
            return None
        plain = value.isascii() and value.isdigit() and len(value) <= 4
        if not plain or not 1 <= int(value) <= MOST_LEVELS:
            raise ValidationError(f"Must be a whole number from 1 to {MOST_LEVELS}.")
        return int(value)


class BookForm(forms.Form):
    as_of = PastInstantField(required=False, label=AS_OF)
    depth = DepthField(required=False, label="The best so many levels of each side.")


def asked(form: type[F], request: Request) -> F:
    """A query in the words of a form; ValidationError naming what it cannot mean."""
    read = form(request.query_params)
    if not read.is_valid():
        raise translate_validation(read.errors)
    return read
