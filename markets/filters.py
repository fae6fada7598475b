"""Filters of series, events, markets and polls, the same on the pages and on the API."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django_filters.fields import ChoiceField

from kalshi_insights.rest.filters import (
    WITHOUT_NUL,
    BoundsForm,
    InstantFilter,
    PastInstantField,
    PastInstantFilter,
    TrueFalseField,
    documented,
    number_filter,
    ordering_filter,
    true_false_filter,
    word_filter,
)
from markets.kalshi.web import names_in_address
from markets.models import Drift, Event, Import, ListedMarket, Market, Poll, Series, Status
from markets.models.events import EVENT_ORDERS, SERIES_ORDERS, EventQuerySet, SeriesQuerySet
from markets.models.imports import ImportState, Kind
from markets.models.listed_markets import ORDERS, ListedMarketQuerySet
from markets.models.recording import POLL_ORDERS, PollQuerySet
from markets.models.search import MAX_WORDS, MIN_LETTERS, Place, search_words

# The filter words of Kalshi's API, each with the statuses that it stands for.
STATUS_WORDS = {
    "unopened": (Status.INITIALIZED,),
    "open": (Status.ACTIVE, Status.INACTIVE),
    "closed": (Status.CLOSED, Status.DETERMINED, Status.DISPUTED, Status.AMENDED),
    "settled": (Status.FINALIZED,),
}
UNKNOWN = "unknown"
STATUS_CHOICES = [
    ("all", "All"),
    *((word, word.capitalize()) for word in STATUS_WORDS),
    (UNKNOWN, "Unknown"),
    *((value, label) for value, label in Status.choices if value not in STATUS_WORDS),
]
STATUS = (
    "A status, or one of unopened, open, closed (not yet settled), settled, unknown (a status that"
    " the contract lacks; each such word on record is accepted too) and all."
)
PRICE = r"^(0(\.[0-9]{1,4})?|1(\.0{1,4})?)$"
COUNT = r"^[0-9]{1,14}(\.[0-9]{1,2})?$"
SEARCH_LENGTH = 300
SEARCH = (
    f"Words, at most {MAX_WORDS}, each of which {{}} contains; accents and case do not count."
    f" Words of fewer than {MIN_LETTERS} letters or digits count as the beginning of the ticker."
    " Or an address of kalshi.com."
)
NAMED_BY_TICKER: dict[str, type[Series | Event | Market]] = {
    "series": Series,
    "event": Event,
    "market": Market,
}


def statuses(word: str) -> Sequence[str]:
    return Drift.objects.unknown_statuses() if word == UNKNOWN else STATUS_WORDS.get(word, (word,))


class StatusField(ChoiceField):
    """Accepts, besides its choices, every status that the exchange has sent."""

    def valid_value(self, value: object) -> bool:
        return super().valid_value(value) or value in Drift.objects.unknown_statuses()


class StatusFilter(django_filters.ChoiceFilter):
    field_class = StatusField


def status_filter(label: str) -> StatusFilter:
    return StatusFilter(method="in_status", choices=STATUS_CHOICES, label=label)


# --- Words and names ----------------------------------------------------------------------------


class SearchField(forms.CharField):
    """Cleans to the words of a search, or to the place that an address of Kalshi names."""

    def clean(self, value: Any) -> list[str] | Place:
        text = super().clean(value)
        names = names_in_address(text)
        if names is not None:
            return self.place(names)
        words = search_words(text)
        if len(words) > MAX_WORDS:
            raise ValidationError(f"At most {MAX_WORDS} words can be searched for.")
        return words

    def place(self, names: list[str]) -> Place:
        place = Market.objects.place_of(names)
        if place is None:
            raise ValidationError("Nothing is on record of what this address names.")
        return place


class SearchFilter(django_filters.Filter):
    field_class = SearchField

    def filter(self, qs: Any, value: list[str] | Place) -> Any:
        return qs.at(value) if isinstance(value, Place) else qs.search(value)


def search_filter(where: str) -> django_filters.Filter:
    search = SearchFilter(label=SEARCH.format(where), max_length=SEARCH_LENGTH)
    return documented(search, type="string", maxLength=SEARCH_LENGTH, pattern=WITHOUT_NUL)


def ticker_filter(noun: str, label: str, **lookup: str) -> django_filters.Filter:
    def find(ticker: str) -> str | None:
        return NAMED_BY_TICKER[noun].objects.as_written([ticker]).get(ticker)

    return word_filter(noun, label, find, **lookup)


def series_word_filter(noun: str, label: str, *, column: str = "", **lookup: str) -> Any:
    """A filter by a word that series have: their category, fee type or one of their tags."""

    def find(word: str) -> str | None:
        return Series.objects.spelling_of(column or noun, word)

    return word_filter(noun, label, find, **lookup)


# --- Lists --------------------------------------------------------------------------------------


class MarketBoundsForm(BoundsForm):
    bounds = {
        "closes_before": "closes_after",
        "price_max": "price_min",
        "volume_max": "volume_min",
    }


class ResourceFilter(django_filters.FilterSet):
    """The filter methods that all resources share."""

    def since(self, queryset: Any, name: str, at: datetime) -> Any:
        return queryset.updated_since(at)

    def known(self, queryset: Any, name: str, at: datetime) -> Any:
        return queryset.known_at(at)


class NamedMarketFilter(ResourceFilter):
    """Filters by name and hierarchy, which do not change over time."""

    q = search_filter("the ticker, title, outcome or event")
    category = series_word_filter(
        "category", "The category of the series.", field_name="series__category"
    )
    series = ticker_filter("series", "The ticker of the series.", field_name="series__ticker")
    event = ticker_filter("event", "The ticker of the event.", field_name="event__ticker")


class MarketFilter(NamedMarketFilter):
    status = status_filter(STATUS)
    closes_after = InstantFilter(
        field_name="close_time", lookup_expr="gte", label="Closes at or after this instant."
    )
    closes_before = InstantFilter(
        field_name="close_time", lookup_expr="lt", label="Closes before this instant."
    )
    price_min = number_filter(
        PRICE, "Minimum midpoint of a two-sided book, in dollars from 0 to 1.", method="from_price"
    )
    price_max = number_filter(
        PRICE, "Maximum midpoint of a two-sided book, in dollars from 0 to 1.", method="to_price"
    )
    volume_min = number_filter(
        COUNT,
        "Minimum volume of the last 24 hours, in contracts.",
        method="from_volume",
    )
    volume_max = number_filter(
        COUNT,
        "Maximum volume of the last 24 hours, in contracts.",
        method="to_volume",
    )
    interest_min = number_filter(
        COUNT,
        "Minimum open interest, in contracts.",
        method="from_interest",
    )
    spread_max = number_filter(PRICE, "Maximum spread, in dollars.", method="to_spread")
    two_sided = true_false_filter(
        "Only markets quoted on both sides (true), or only the others (false).",
        method="with_both_sides",
    )
    updated_since = InstantFilter(
        method="since", label="The quote or the definition changed at or after this instant."
    )

    class Meta:
        model = ListedMarket
        fields: list[str] = []
        form = MarketBoundsForm

    def in_status(
        self, queryset: ListedMarketQuerySet, name: str, word: str
    ) -> ListedMarketQuerySet:
        return queryset if word == "all" else queryset.in_stage(statuses(word))

    def from_price(
        self, queryset: ListedMarketQuerySet, name: str, least: Decimal
    ) -> ListedMarketQuerySet:
        return queryset.midpoint_from(least)

    def to_price(
        self, queryset: ListedMarketQuerySet, name: str, most: Decimal
    ) -> ListedMarketQuerySet:
        return queryset.midpoint_to(most)

    def to_spread(
        self, queryset: ListedMarketQuerySet, name: str, most: Decimal
    ) -> ListedMarketQuerySet:
        return queryset.spread_to(most)

    def from_volume(
        self, queryset: ListedMarketQuerySet, name: str, least: Decimal
    ) -> ListedMarketQuerySet:
        return queryset.volume_from(least)

    def to_volume(
        self, queryset: ListedMarketQuerySet, name: str, most: Decimal
    ) -> ListedMarketQuerySet:
        return queryset.volume_to(most)

    def from_interest(
        self, queryset: ListedMarketQuerySet, name: str, least: Decimal
    ) -> ListedMarketQuerySet:
        return queryset.interest_from(least)

    def with_both_sides(
        self, queryset: ListedMarketQuerySet, name: str, wanted: bool
    ) -> ListedMarketQuerySet:
        return queryset.two_sided(wanted)


class MarketListFilter(MarketFilter):
    """Adds the order, which the pages set by their column headers instead."""

    ordering = ordering_filter(ORDERS, "ticker")


AS_OF = "Show what was known at this instant, which must not lie in the future."


class MarketAsOfFilter(NamedMarketFilter):
    as_of = PastInstantFilter(method="known", required=True, label=AS_OF)
    status = status_filter("The status at that instant.")
    ordering = ordering_filter(SERIES_ORDERS, "ticker")

    def in_status(
        self, queryset: ListedMarketQuerySet, name: str, word: str
    ) -> ListedMarketQuerySet:
        return queryset if word == "all" else queryset.in_status_as_of(statuses(word))


class NamedEventFilter(ResourceFilter):
    q = search_filter("the ticker or a title")
    category = series_word_filter(
        "category", "The category of the series.", field_name="series__category"
    )
    series = ticker_filter("series", "The ticker of the series.", field_name="series__ticker")


class EventFilter(NamedEventFilter):
    status = status_filter("A market of the event has this status.")
    updated_since = InstantFilter(
        method="since", label="The definition changed at or after this instant."
    )
    ordering = ordering_filter(EVENT_ORDERS, "ticker")

    class Meta:
        model = Event
        fields: list[str] = []

    def in_status(self, queryset: EventQuerySet, name: str, word: str) -> EventQuerySet:
        return queryset if word == "all" else queryset.with_market_in(statuses(word))


class EventAsOfFilter(NamedEventFilter):
    as_of = PastInstantFilter(method="known", required=True, label=AS_OF)
    status = status_filter("The status at that instant.")
    ordering = ordering_filter(SERIES_ORDERS, "ticker")

    def in_status(self, queryset: EventQuerySet, name: str, word: str) -> EventQuerySet:
        at = self.form.cleaned_data["as_of"]
        return queryset if word == "all" else queryset.with_market_in_as_of(statuses(word), at)


class SeriesFilter(ResourceFilter):
    q = search_filter("the ticker or title")
    category = series_word_filter("category", "The category.", field_name="category")
    tag = series_word_filter("tag", "One of the series' tags.", column="tags", method="with_tag")
    fee_type = series_word_filter(
        "fee type", "The fee type, such as quadratic.", column="fee_type", field_name="fee_type"
    )
    ordering = ordering_filter(SERIES_ORDERS, "ticker")

    class Meta:
        model = Series
        fields: list[str] = []

    def with_tag(self, queryset: SeriesQuerySet, name: str, tag: str) -> SeriesQuerySet:
        return queryset.tagged(tag)


class PollFilter(ResourceFilter):
    start = InstantFilter(
        field_name="started_at", lookup_expr="gte", label="Started at or after this instant."
    )
    end = InstantFilter(
        field_name="started_at", lookup_expr="lt", label="Started before this instant."
    )
    failed = true_false_filter(
        "Only runs that miss quotes (true), or only the others (false).", method="that_failed"
    )
    ordering = ordering_filter(POLL_ORDERS, "-started_at")

    class Meta:
        model = Poll
        fields: list[str] = []
        form = BoundsForm

    def that_failed(self, queryset: PollQuerySet, name: str, wanted: bool) -> PollQuerySet:
        return queryset.that_failed(wanted)


# --- Single resources ---------------------------------------------------------------------------


class AsOfForm(forms.Form):
    as_of = PastInstantField(required=False, label=AS_OF)


class NestForm(forms.Form):
    markets = TrueFalseField(required=False, label="Include the markets of each event.")


class EventForm(AsOfForm, NestForm):
    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("as_of") and self.cleaned_data.get("markets"):
            self.add_error("markets", "Cannot be combined with as_of.")
        return self.cleaned_data


# --- Imports ------------------------------------------------------------------------------------

IMPORT_NUMBER = "The number of a finished import, whose rows alone are read."


class ImportNumberField(forms.Field):
    """The number of an import whose rows can be used."""

    def to_python(self, value: str | None) -> int | None:
        if not value:
            return None
        if not (value.isascii() and value.isdigit() and len(value) <= 18):
            raise ValidationError("Must be the number of an import.")
        for id, why in Import.objects.why_unusable([int(value)]).items():
            raise ValidationError(f"Import {id} {why}.")
        return int(value)


class ImportNumberFilter(django_filters.Filter):
    """Narrows rows to those of one import, by the named read `of_import`."""

    field_class = ImportNumberField

    def filter(self, qs: Any, value: int | None) -> Any:
        return qs if value is None else qs.of_import(value)


def import_filter() -> django_filters.Filter:
    return documented(ImportNumberFilter(label=IMPORT_NUMBER), type="integer", minimum=1)


class ImportFilter(django_filters.FilterSet):
    state = django_filters.ChoiceFilter(
        choices=ImportState.choices, label="The stage that the import is in."
    )
    kind = django_filters.ChoiceFilter(choices=Kind.choices, label="The kind of its rows.")
    group = django_filters.UUIDFilter(label="The group: all imports of one command.")
