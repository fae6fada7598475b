"""Filters and form fields for query parameters, the same on the pages and on the API."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django.forms.utils import ErrorDict
from django.utils.dateparse import parse_datetime
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema_field
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.views import APIView

# PostgreSQL stores no text that holds a NUL.
WITHOUT_NUL = r"^[^\x00]*$"
MAX_TEXT_LENGTH = 200
# A plus sign in the query of an address stands for a space.
SPACE_FOR_PLUS = re.compile(r":[0-9.]+ [0-9]{2}(:?[0-9]{2})?$")
START = "The first instant of the range, with its offset, such as 2026-11-20T12:00:00Z."
END = "The instant that the range ends before, with its offset."


class FilterBackend(DjangoFilterBackend):
    """Builds a filter set only for queries that use it: building takes longer than the query."""

    def filter_queryset(self, request: Request, queryset: Any, view: APIView) -> Any:
        filterset = self.get_filterset_class(view, queryset)
        if filterset is None or request.query_params.keys().isdisjoint(filterset.base_filters):
            return queryset
        filters = self.get_filterset(request, queryset, view)
        if not filters.is_valid():
            raise exceptions.ValidationError(messages(filters.errors))
        return filters.qs


def messages(errors: ErrorDict) -> dict[str, list[str]]:
    """The messages of a form by field.

    django-filter would take a per cent sign in one, which may quote what was sent, for a place to
    fill in.
    """
    return {name: [str(message) for message in each] for name, each in errors.items()}


# --- Instants -----------------------------------------------------------------------------------


class InstantField(django_filters.fields.IsoDateTimeField):
    """An instant with its offset, without which it would mean different times to each reader."""

    def to_python(self, value: Any) -> datetime | None:
        if SPACE_FOR_PLUS.search(str(value)):
            raise ValidationError(
                "Has a space where its offset begins: in an address, write %2B for a plus sign,"
                " or use Z."
            )
        instant: datetime | None = super().to_python(value)
        written = parse_datetime(str(value).strip())
        if written and written.tzinfo is None:
            raise ValidationError("Needs an offset, such as Z or +00:00.")
        try:
            # PostgreSQL does not accept every offset that Python does.
            return instant and instant.astimezone(UTC)
        except OverflowError:
            raise ValidationError("Lies outside the years 1 to 9999.") from None


class InstantFilter(django_filters.IsoDateTimeFilter):
    field_class = InstantField


class PastInstantField(InstantField):
    def to_python(self, value: Any) -> datetime | None:
        instant = super().to_python(value)
        if instant and instant > datetime.now(UTC):
            raise ValidationError("Lies in the future.")
        return instant


class PastInstantFilter(InstantFilter):
    field_class = PastInstantField


def start_filter(field: str) -> InstantFilter:
    return InstantFilter(field_name=field, lookup_expr="gte", label=START)


def end_filter(field: str) -> InstantFilter:
    return InstantFilter(field_name=field, lookup_expr="lt", label=END)


# --- Other values -------------------------------------------------------------------------------


class PlainNumberField(forms.RegexField):
    """A number as people write it: no exponent, no NaN, no underscore."""

    def clean(self, value: Any) -> Decimal | None:
        text = super().clean(value)
        return Decimal(text) if text else None


class PlainNumberFilter(django_filters.Filter):
    field_class = PlainNumberField


class TrueFalseField(forms.Field):
    widget = forms.Select(choices=[("", "---------"), ("true", "Yes"), ("false", "No")])

    def to_python(self, value: Any) -> bool | None:
        if value in self.empty_values:
            return None
        if value not in ("true", "false"):
            raise ValidationError("Must be true or false.")
        return bool(value == "true")


class TrueFalseFilter(django_filters.Filter):
    field_class = TrueFalseField


def number_filter(
    pattern: str, label: str, *, method: str | None = None, **lookup: str
) -> django_filters.Filter:
    """A filter by a number that matches `pattern`, here and in the schema."""
    number = PlainNumberFilter(
        label=label,
        method=method,
        regex=pattern,
        strip=True,
        error_messages={"invalid": f"Must be a plain number in the form {pattern}."},
        **lookup,
    )
    return documented(number, type="string", pattern=pattern)


def text_filter(
    label: str, *, max_length: int = MAX_TEXT_LENGTH, **lookup: str
) -> django_filters.Filter:
    text = django_filters.CharFilter(label=label, max_length=max_length, **lookup)
    return documented(text, type="string", maxLength=max_length, pattern=WITHOUT_NUL)


class WordField(forms.CharField):
    """A text in any case that cleans to its spelling on record; an unknown one is refused."""

    def __init__(self, *, noun: str, find: Callable[[str], str | None], **options: Any) -> None:
        super().__init__(**options)
        self.noun, self.find = noun, find

    def clean(self, value: Any) -> str:
        text: str = super().clean(value)
        found = self.find(text) if text else ""
        if found is None:
            raise ValidationError(f"There is no {self.noun} {text} on record.")
        return found


class WordFilter(django_filters.CharFilter):
    field_class = WordField


def word_filter(
    noun: str, label: str, find: Callable[[str], str | None], **lookup: str
) -> django_filters.Filter:
    """A filter by a name on record; `find` returns its spelling there, or None."""
    word = WordFilter(label=label, max_length=MAX_TEXT_LENGTH, noun=noun, find=find, **lookup)
    return documented(word, type="string", maxLength=MAX_TEXT_LENGTH, pattern=WITHOUT_NUL)


def true_false_filter(label: str, *, method: str) -> django_filters.Filter:
    return documented(TrueFalseFilter(label=label, method=method), type="boolean")


class OrderingField(forms.Field):
    """Keys with commas between them, each descending after a minus sign."""

    def __init__(self, *, keys: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self.keys = keys

    def to_python(self, value: Any) -> list[str]:
        ordering = [key.strip() for key in value.split(",")] if value else []
        for key in ordering:
            if key.removeprefix("-") not in self.keys:
                raise ValidationError(
                    f"Must be one or several of {', '.join(self.keys)}, with commas between"
                    " them; a minus sign before a key makes it descending."
                )
        return ordering


class OrderingFilter(django_filters.Filter):
    field_class = OrderingField

    def filter(self, qs: Any, value: Any) -> Any:
        return qs.ordered_by(*value) if value else qs


def ordering_filter(keys: Iterable[str], default: str) -> django_filters.Filter:
    """A filter that orders by these keys, by the QuerySet's method `ordered_by`."""
    keys = list(keys)
    label = (
        f"The order of the rows: one or several of {', '.join(keys)}, with commas between them."
        " A minus sign makes a key descending; null comes last both ways."
    )
    ordering = OrderingFilter(keys=keys, label=label)
    key = f"-?({'|'.join(keys)})"
    return documented(ordering, type="string", pattern=f"^{key}(,{key})*$", default=default)


def documented(filter: django_filters.Filter, **schema: object) -> django_filters.Filter:
    documented: django_filters.Filter = extend_schema_field(
        {**schema, "description": filter.label}
    )(filter)
    return documented


# --- Ranges -------------------------------------------------------------------------------------


class BoundsForm(forms.Form):
    """Refuses upper bounds below their lower bounds."""

    # The lower bound of each upper bound.
    bounds: Mapping[str, str] = {"end": "start"}

    def clean(self) -> dict[str, Any]:
        for upper, lower in self.bounds.items():
            low, high = self.cleaned_data.get(lower), self.cleaned_data.get(upper)
            if low is not None and high is not None and high < low:
                self.add_error(upper, f"Must not be less than {lower}.")
        return self.cleaned_data


class TimeRangeForm(forms.Form):
    """Refuses a range of time that does not end after its start."""

    def clean(self) -> dict[str, Any]:
        start, end = self.cleaned_data.get("start"), self.cleaned_data.get("end")
        if start and end and end <= start:
            self.add_error("end", "Must be later than start.")
        return self.cleaned_data
