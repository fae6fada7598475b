"""What each noun's lists can be narrowed by, on the pages and on the API."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django.utils.dateparse import parse_datetime
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema_field
from rest_framework.request import Request
from rest_framework.views import APIView

from markets.models import Event, Market, Poll, Series, Status
from markets.models.events import EVENT_ORDERS, SERIES_ORDERS, EventQuerySet, SeriesQuerySet
from markets.models.markets import ORDERS, MarketQuerySet
from markets.models.recording import POLL_ORDERS, PollQuerySet

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
PRICE = r"^(0(\.[0-9]{1,4})?|1(\.0{1,4})?)$"
COUNT = r"^[0-9]{1,14}(\.[0-9]{1,2})?$"
WITHOUT_NUL = r"^[^\x00]*$"
TICKER_LENGTH = 200
SEARCH_LENGTH = 100


def stages(word: str) -> tuple[str, ...]:
    return STATUS_WORDS.get(word, (word,))


# --- the kinds of values ------------------------------------------------------------------------


class InstantField(django_filters.fields.IsoDateTimeField):
    """An instant. One without an offset would mean different times to different people."""

    def to_python(self, value: Any) -> datetime | None:
        instant: datetime | None = super().to_python(value)
        written = parse_datetime(str(value).strip())
        if written and written.tzinfo is None:
            raise ValidationError("Needs an offset, such as Z or +00:00.")
        try:
            # PostgreSQL does not know all of the offsets that there can be.
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


class PlainNumberField(forms.RegexField):
    """A number as people write it: no exponent, no NaN, no underscore."""

    def clean(self, value: Any) -> Decimal | None:
        text = super().clean(value)
        return Decimal(text) if text else None


class PlainNumberFilter(django_filters.Filter):
    field_class = PlainNumberField


class TruthField(forms.Field):
    widget = forms.Select(choices=[("", "---------"), ("true", "Yes"), ("false", "No")])

    def to_python(self, value: Any) -> bool | None:
        if value in self.empty_values:
            return None
        if value not in ("true", "false"):
            raise ValidationError("Must be true or false.")
        return bool(value == "true")


class TruthFilter(django_filters.Filter):
    field_class = TruthField


def plain_number(
    pattern: str, label: str, *, method: str | None = None, **where: str
) -> django_filters.Filter:
    """A filter by a number; `pattern` holds here and in the schema."""
    made = PlainNumberFilter(
        label=label,
        method=method,
        regex=pattern,
        strip=True,
        error_messages={"invalid": f"Must be a plain number in the form {pattern}."},
        **where,
    )
    return _described(made, type="string", pattern=pattern)


def text(label: str, *, longest: int = TICKER_LENGTH, **where: str) -> django_filters.Filter:
    made = django_filters.CharFilter(label=label, max_length=longest, **where)
    return _described(made, type="string", maxLength=longest, pattern=WITHOUT_NUL)


def truth(label: str, *, method: str) -> django_filters.Filter:
    return _described(TruthFilter(label=label, method=method), type="boolean")


def order(orders: Mapping[str, object], usual: str) -> django_filters.Filter:
    choices = [(word, word) for word in orders]
    label = "The order of the rows; a minus turns a word round."
    made = django_filters.ChoiceFilter(choices=choices, method="in_order", label=label)
    return _described(made, type="string", enum=list(orders), default=usual)


def _described(made: django_filters.Filter, **schema: object) -> django_filters.Filter:
    described: django_filters.Filter = extend_schema_field({**schema, "description": made.label})(
        made
    )
    return described


class Filters(DjangoFilterBackend):
    """Makes no form where nothing is asked of it: that takes longer than the database does."""

    def filter_queryset(self, request: Request, queryset: Any, view: APIView) -> Any:
        known = self.get_filterset_class(view, queryset)
        if known is None or request.query_params.keys().isdisjoint(known.base_filters):
            return queryset
        return super().filter_queryset(request, queryset, view)


# --- the nouns ----------------------------------------------------------------------------------


class RangeForm(forms.Form):
    ranges = {
        "closes_before": "closes_after",
        "price_max": "price_min",
        "volume_max": "volume_min",
        "end": "start",
    }

    def clean(self) -> dict[str, Any]:
        for high, low in self.ranges.items():
            least, most = self.cleaned_data.get(low), self.cleaned_data.get(high)
            if least is not None and most is not None and most < least:
                self.add_error(high, f"Must not be less than {low}.")
        return self.cleaned_data


class NounFilter(django_filters.FilterSet):
    """Reads that nouns have in common."""

    def search(self, queryset: Any, name: str, words: str) -> Any:
        return queryset.search(words)

    def since(self, queryset: Any, name: str, at: datetime) -> Any:
        return queryset.updated_since(at)

    def known(self, queryset: Any, name: str, at: datetime) -> Any:
        return queryset.known_at(at)

    def in_order(self, queryset: Any, name: str, word: str) -> Any:
        return queryset.ranked(word)


class NamedMarketFilter(NounFilter):
    """By what a market's name and place are."""

    q = text(
        "Words found in the ticker, title, outcome or event, each somewhere.",
        longest=SEARCH_LENGTH,
        method="search",
    )
    category = text("Of the series, as Kalshi writes it.", field_name="event__series__category")
    series = text("Ticker of the series.", field_name="event__series__ticker")
    event = text("Ticker of the event.", field_name="event__ticker")


class MarketFilter(NamedMarketFilter):
    status = django_filters.ChoiceFilter(
        method="in_status",
        choices=STATUS_CHOICES,
        label="A stage of life, or unopened, open, closed (until settled), settled and all.",
    )
    closes_after = InstantFilter(
        field_name="close_time", lookup_expr="gte", label="Closes then or later."
    )
    closes_before = InstantFilter(
        field_name="close_time", lookup_expr="lt", label="Closes before then."
    )
    price_min = plain_number(
        PRICE, "Least midpoint of a two-sided book, in dollars from 0 to 1.", method="from_price"
    )
    price_max = plain_number(
        PRICE, "Greatest midpoint of a two-sided book, in dollars from 0 to 1.", method="to_price"
    )
    volume_min = plain_number(
        COUNT,
        "Least volume of the last 24 hours, in contracts.",
        field_name="volume_24h",
        lookup_expr="gte",
    )
    volume_max = plain_number(
        COUNT,
        "Greatest volume of the last 24 hours, in contracts.",
        field_name="volume_24h",
        lookup_expr="lte",
    )
    interest_min = plain_number(
        COUNT,
        "Least open interest, in contracts.",
        field_name="open_interest",
        lookup_expr="gte",
    )
    spread_max = plain_number(
        PRICE, "Greatest difference of ask and bid, in dollars.", method="to_spread"
    )
    two_sided = truth("Whether both sides of the book are quoted.", method="with_both_sides")
    updated_since = InstantFilter(
        method="since", label="The quote or the definition is from then or later."
    )

    class Meta:
        model = Market
        fields: list[str] = []
        form = RangeForm

    def in_status(self, queryset: MarketQuerySet, name: str, word: str) -> MarketQuerySet:
        return queryset if word == "all" else queryset.in_stage(stages(word))

    def from_price(self, queryset: MarketQuerySet, name: str, least: Decimal) -> MarketQuerySet:
        return queryset.midpoint_from(least)

    def to_price(self, queryset: MarketQuerySet, name: str, most: Decimal) -> MarketQuerySet:
        return queryset.midpoint_to(most)

    def to_spread(self, queryset: MarketQuerySet, name: str, most: Decimal) -> MarketQuerySet:
        return queryset.spread_to(most)

    def with_both_sides(self, queryset: MarketQuerySet, name: str, wanted: bool) -> MarketQuerySet:
        return queryset.two_sided(wanted)


class MarketListFilter(MarketFilter):
    """The pages have a word of their own for the order: the heads of their columns."""

    ordering = order(ORDERS, "ticker")


TICKER_ORDERS = ("ticker", "-ticker")
AS_OF = "What was known then and nothing that came later. Not in the future."


class MarketsThenFilter(NamedMarketFilter):
    as_of = PastInstantFilter(method="known", required=True, label=AS_OF)
    status = django_filters.ChoiceFilter(
        method="in_status", choices=STATUS_CHOICES, label="The stage of life of then."
    )
    ordering = order(dict.fromkeys(TICKER_ORDERS), "ticker")

    def in_status(self, queryset: MarketQuerySet, name: str, word: str) -> MarketQuerySet:
        return queryset if word == "all" else queryset.in_status_as_of(stages(word))


class NamedEventFilter(NounFilter):
    q = text("Words found in the ticker or a title.", longest=SEARCH_LENGTH, method="search")
    category = text("Of the series, as Kalshi writes it.", field_name="series__category")
    series = text("Ticker of the series.", field_name="series__ticker")


class EventFilter(NamedEventFilter):
    status = django_filters.ChoiceFilter(
        method="in_status",
        choices=STATUS_CHOICES,
        label="A market of the event is in this stage of life.",
    )
    updated_since = InstantFilter(
        method="since", label="The definition was seen to change then or later."
    )
    ordering = order(EVENT_ORDERS, "ticker")

    class Meta:
        model = Event
        fields: list[str] = []

    def in_status(self, queryset: EventQuerySet, name: str, word: str) -> EventQuerySet:
        return queryset if word == "all" else queryset.with_market_in(stages(word))


class EventsThenFilter(NamedEventFilter):
    as_of = PastInstantFilter(method="known", required=True, label=AS_OF)
    status = django_filters.ChoiceFilter(
        method="in_status", choices=STATUS_CHOICES, label="The stage of life of then."
    )
    ordering = order(dict.fromkeys(TICKER_ORDERS), "ticker")

    def in_status(self, queryset: EventQuerySet, name: str, word: str) -> EventQuerySet:
        at = self.form.cleaned_data["as_of"]
        return queryset if word == "all" else queryset.with_market_in_as_of(stages(word), at)


class SeriesFilter(NounFilter):
    q = text("Words found in the ticker or title.", longest=SEARCH_LENGTH, method="search")
    category = text("As Kalshi writes it.", field_name="category")
    tag = text("One of the series' tags, as Kalshi writes it.", method="with_tag")
    fee_type = text("As Kalshi writes it, such as quadratic.", field_name="fee_type")
    ordering = order(SERIES_ORDERS, "ticker")

    class Meta:
        model = Series
        fields: list[str] = []

    def with_tag(self, queryset: SeriesQuerySet, name: str, tag: str) -> SeriesQuerySet:
        return queryset.tagged(tag)


class PollFilter(NounFilter):
    start = InstantFilter(field_name="started_at", lookup_expr="gte", label="Begun then or later.")
    end = InstantFilter(field_name="started_at", lookup_expr="lt", label="Begun before then.")
    failed = truth("Whether quotes are missing from the run.", method="that_failed")
    ordering = order(POLL_ORDERS, "newest")

    class Meta:
        model = Poll
        fields: list[str] = []
        form = RangeForm

    def that_failed(self, queryset: PollQuerySet, name: str, wanted: bool) -> PollQuerySet:
        return queryset.that_failed(wanted)


# --- single things ------------------------------------------------------------------------------


class ThenForm(forms.Form):
    as_of = PastInstantField(required=False, label=AS_OF)


class NestForm(forms.Form):
    markets = TruthField(required=False, label="Each event with its markets.")


class EventForm(ThenForm, NestForm):
    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("as_of") and self.cleaned_data.get("markets"):
            self.add_error("markets", "Cannot be combined with as_of.")
        return self.cleaned_data


# --- time series --------------------------------------------------------------------------------


class SpanForm(forms.Form):
    def clean(self) -> dict[str, Any]:
        start, end = self.cleaned_data.get("start"), self.cleaned_data.get("end")
        if start and end and end <= start:
            self.add_error("end", "Must be later than start.")
        return self.cleaned_data
