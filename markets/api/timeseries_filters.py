"""Filters and query forms of the time series of one market."""

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from rest_framework.request import Request

from kalshi_insights.rest.filters import (
    END,
    START,
    InstantField,
    PastInstantField,
    TimeRangeForm,
    end_filter,
    start_filter,
    true_false_filter,
)
from markets.api.candlesticks import INTERVALS
from markets.filters import AS_OF, IMPORT_NUMBER, ImportNumberField, import_filter
from markets.models import Source
from markets.models.order_books import OrderBookQuerySet
from markets.models.snapshots import MarketSnapshotQuerySet
from markets.models.trades import SOURCES, TradeQuerySet

MAX_BUCKETS = 10_000
MAX_LEVELS = 1_000
MAX_COVERAGE = timedelta(days=31)
ALL_TRADES_WITHIN = timedelta(days=1)
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


# --- Recorded rows in a range -------------------------------------------------------------------


UNNAMED_SOURCE = f"any without it, but for {Source.IMPORT.value}."
OTHER_SOURCE = f"Rows of an import have the source {Source.IMPORT.value}."


Rows = TypeVar("Rows", MarketSnapshotQuerySet, TradeQuerySet, OrderBookQuerySet)


def recorded_unless_named(rows: Rows, request: Request) -> Rows:
    """Leave out imported rows, unless the query asks for a source or an import."""
    query = request.query_params
    return rows if query.get("source") or query.get("import") else rows.recorded()


class RecordedForm(TimeRangeForm):
    """A range of rows, of which those of an import may be asked for."""

    def clean(self) -> dict[str, Any]:
        super().clean()
        refuse_other_source(self)
        return self.cleaned_data


def refuse_other_source(form: forms.Form) -> None:
    source = form.cleaned_data.get("source")
    if form.cleaned_data.get("import") and source and source != Source.IMPORT:
        form.add_error("source", OTHER_SOURCE)


class SnapshotFilter(django_filters.FilterSet):
    start = start_filter("timestamp")
    end = end_filter("timestamp")
    source = django_filters.ChoiceFilter(
        choices=Source.choices,
        label=f"The source of the observation; {UNNAMED_SOURCE}",
        method="of_source",
    )
    vars()["import"] = import_filter()  # a word of the language

    class Meta:
        form = RecordedForm

    def of_source(
        self, queryset: MarketSnapshotQuerySet, name: str, source: str
    ) -> MarketSnapshotQuerySet:
        return queryset.from_source(source)


class OrderBookFilter(django_filters.FilterSet):
    start = start_filter("timestamp")
    end = end_filter("timestamp")
    vars()["import"] = import_filter()

    class Meta:
        form = TimeRangeForm


class TradeFilter(django_filters.FilterSet):
    start = start_filter("created_time")
    end = end_filter("created_time")
    block = true_false_filter(
        "Only block trades, negotiated outside the book (true), or only the others (false).",
        method="of_kind",
    )
    source = django_filters.ChoiceFilter(
        choices=SOURCES,
        label=f"Where the trade was learned of; {UNNAMED_SOURCE}",
        method="of_source",
    )
    vars()["import"] = import_filter()

    class Meta:
        form = RecordedForm

    def of_kind(self, queryset: TradeQuerySet, name: str, block: bool) -> TradeQuerySet:
        return queryset.blocks() if block else queryset.in_the_book()

    def of_source(self, queryset: TradeQuerySet, name: str, source: str) -> TradeQuerySet:
        return queryset.from_source(source)


class AllTradesForm(RecordedForm):
    def clean(self) -> dict[str, Any]:
        super().clean()
        for name in ("source", "block", "import"):
            is_rare = bool(self.cleaned_data.get(name))
            if is_rare and not self.errors and not self._is_short():
                self.add_error(name, "Needs start and end, at most a day apart.")
        return self.cleaned_data

    def _is_short(self) -> bool:
        start, end = self.cleaned_data.get("start"), self.cleaned_data.get("end")
        return bool(start and end and end - start <= ALL_TRADES_WITHIN)


class AllTradesFilter(TradeFilter):
    """The same for all markets: no index finds a source, an import or block trades in all time."""

    class Meta:
        form = AllTradesForm


class RevisionFilter(django_filters.FilterSet):
    start = start_filter("known_at")
    end = end_filter("known_at")

    class Meta:
        form = TimeRangeForm


# --- Rows computed over a range -----------------------------------------------------------------


def in_supported_years(instant: datetime) -> None:
    if not EARLIEST <= instant < LATEST:
        raise ValidationError(f"Must lie between {EARLIEST.year} and {LATEST.year}.")


class ComputedRangeForm(TimeRangeForm):
    """A range whose missing bounds are those of the market's record (`recorded_range`)."""

    start = InstantField(required=False, label=START, validators=[in_supported_years])
    end = InstantField(required=False, label=END, validators=[in_supported_years])

    def clean(self) -> dict[str, Any]:
        super().clean()
        start, end = self.cleaned_data.get("start"), self.cleaned_data.get("end")
        if start and not end and start >= datetime.now(UTC):
            self.add_error("start", "Lies in the future.")
        return self.cleaned_data


class CoverageForm(ComputedRangeForm):
    def clean(self) -> dict[str, Any]:
        super().clean()
        start = self.cleaned_data.get("start")
        end = self.cleaned_data.get("end") or datetime.now(UTC)
        if start and not self.errors and end - start > MAX_COVERAGE:
            self.add_error("start", f"Must be at most {MAX_COVERAGE.days} days before end.")
        return self.cleaned_data


class CandlestickForm(ComputedRangeForm):
    interval = forms.ChoiceField(
        required=False, choices=[(word, word) for word in INTERVALS], label="The width of a bucket."
    )
    source = forms.ChoiceField(
        required=False,
        choices=[("", "---------"), *Source.choices],
        label="The source of the observation.",
    )
    vars()["import"] = ImportNumberField(required=False, label=IMPORT_NUMBER)

    def clean(self) -> dict[str, Any]:
        super().clean()
        refuse_other_source(self)
        return self.cleaned_data


class DepthField(forms.Field):
    def to_python(self, value: str | None) -> int | None:
        if not value:
            return None
        plain = value.isascii() and value.isdigit() and len(value) <= 4
        if not plain or not 1 <= int(value) <= MAX_LEVELS:
            raise ValidationError(f"Must be a whole number from 1 to {MAX_LEVELS}.")
        return int(value)


class BookForm(forms.Form):
    as_of = PastInstantField(required=False, label=AS_OF)
    depth = DepthField(required=False, label="The number of best levels of each side.")
