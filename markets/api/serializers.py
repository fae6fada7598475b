"""Serializers of the resources: series, events, markets, snapshots and polls."""

from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from kalshi_insights.export.copy import ColumnTypes
from kalshi_insights.rest.schema import with_example
from markets.api import examples
from markets.models import Event, Market, MarketSnapshot, Poll, Series
from markets.models.fields import COUNT, MIDPOINT, QUOTE_TYPES
from markets.models.fields import PRICE as PRICE_TYPE

QUOTE = [*QUOTE_TYPES, "yes_price", "no_price"]


# All fields are `read_only_fields`: the schema would call a field optional that a form may omit.

# The fields that only responses to `as_of` have.
AS_OF_FIELDS = ["known_at", "known_at_assumed"]
EVIDENCE_FIELDS = ["observed_at", "evidence_age_seconds", "being_observed"]
EVENT_ROW = [
    "ticker",
    "series_ticker",
    "category",
    "title",
    "sub_title",
    "mutually_exclusive",
    "collateral_return_type",
    "strike_date",
    "strike_period",
    "settlement_sources",
    "fee_type_override",
    "fee_multiplier_override",
    "exchange_index",
    "recorded_at",
]
MARKET_COLUMNS: ColumnTypes = {
    "ticker": "text",
    "event_ticker": "text",
    "series_ticker": "text",
    "category": "text",
    "event_title": "text",
    "title": "text",
    "yes_sub_title": "text",
    "no_sub_title": "text",
    "market_type": "text",
    "status": "text",
    "result": "text",
    "settlement_value": "numeric(7,6)",
    "settlement_ts": "timestamptz",
    "open_time": "timestamptz",
    "close_time": "timestamptz",
    "expected_expiration_time": "timestamptz",
    "latest_expiration_time": "timestamptz",
    "can_close_early": "boolean",
    "strike_type": "text",
    "floor_strike": "numeric",
    "cap_strike": "numeric",
    **QUOTE_TYPES,
    "yes_price": MIDPOINT,
    "no_price": MIDPOINT,
    "volume_24h": COUNT,
    "previous_price": PRICE_TYPE,
    "quoted_at": "timestamptz",
    "is_hot": "boolean",
}
MARKET_ROW = list(MARKET_COLUMNS)
# A file also has what an import of definitions needs.
MARKET_FILE: ColumnTypes = {**MARKET_COLUMNS, "mutually_exclusive": "boolean"}


PRICE = "Dollars on the YES scale, 0 to 1; null if nobody offers, or unknown."
# The help texts of a quote's fields.
QUOTE_HELP = {
    "yes_bid": {"help_text": f"Best bid. {PRICE}"},
    "yes_ask": {"help_text": f"Best ask. {PRICE}"},
    "yes_bid_size": {"help_text": "Contracts at the best bid; null if unknown."},
    "yes_ask_size": {"help_text": "Contracts at the best ask; null if unknown."},
    "last_price": {"help_text": f"Price of the newest trade, which may be old. {PRICE}"},
    "volume": {"help_text": "Contracts traded so far; null if unknown."},
    "open_interest": {"help_text": "Contracts held; null if unknown."},
}


def _object(**properties: str) -> dict[str, Any]:
    described = {name: {"type": kind} for name, kind in properties.items()}
    return {"type": "object", "properties": described}


@extend_schema_field(
    {
        "type": "array",
        "items": {"type": "object", "additionalProperties": {}},
        "example": [{"name": "National Weather Service", "url": "https://www.weather.gov"}],
    }
)
class SourcesField(serializers.JSONField):
    pass


@extend_schema_field(
    {
        "type": "array",
        "items": _object(start="string", end="string", step="string")
        | {"required": ["start", "end", "step"]},
        "example": [{"start": "0.0000", "end": "1.0000", "step": "0.0100"}],
    }
)
class PriceRangesField(serializers.JSONField):
    pass


@extend_schema_field(
    {
        "type": "object",
        "additionalProperties": _object(p50="number", p95="number", max="number"),
        "example": {"hot": {"p50": 5.0, "p95": 5.1, "max": 5.3}},
    }
)
class AgesField(serializers.JSONField):
    pass


@extend_schema_field({"type": "object", "additionalProperties": {}, "nullable": True})
class LeftoverField(serializers.JSONField):
    pass


# A field that may be null and may be missing is left out where it is missing only if it is not
# declared as nullable to the serializer.
@extend_schema_field({"type": "string", "format": "date-time", "nullable": True})
class ObservedAtField(serializers.DateTimeField):
    pass


@extend_schema_field({"type": "number", "format": "double", "nullable": True})
class EvidenceAgeField(serializers.FloatField):
    pass


@extend_schema_field(
    {"type": "string", "format": "decimal", "pattern": r"^-?\d+(\.\d+)?$", "nullable": True}
)
class ExactField(serializers.ReadOnlyField):
    """A number with the digits that are recorded; DRF's own field would round it to a scale."""

    def to_representation(self, value: Decimal) -> str:
        return f"{value:f}"


@with_example(examples.SERIES)
class SeriesSerializer(serializers.ModelSerializer[Series]):
    """A series: what its events have in common, and its current fees."""

    fee_multiplier = ExactField()
    settlement_sources = SourcesField(help_text="The sources that settle its markets.")

    class Meta:
        model = Series
        fields = [
            "ticker",
            "title",
            "category",
            "tags",
            "frequency",
            "fee_type",
            "fee_multiplier",
            "settlement_sources",
            "contract_url",
            "exchange_index",
            "refreshed_at",
        ]
        read_only_fields = fields


class QuotedSerializer(serializers.ModelSerializer[Any]):
    """Adds the prices that are derived from a quote."""

    yes_price = serializers.DecimalField(
        max_digits=7,
        decimal_places=5,
        allow_null=True,
        help_text="The midpoint of bid and ask in dollars; null unless both sides are quoted.",
    )
    no_price = serializers.DecimalField(
        max_digits=7, decimal_places=5, allow_null=True, help_text="One dollar less yes_price."
    )


class AsOfSerializer(serializers.ModelSerializer[Any]):
    """Adds the fields that only a response to `as_of` has."""

    known_at = serializers.DateTimeField(
        required=False, help_text="The instant this was known from; only with as_of."
    )
    known_at_assumed = serializers.BooleanField(
        required=False, help_text="True where known_at is assumed; only with as_of."
    )


class EvidenceSerializer(serializers.ModelSerializer[Any]):
    """Adds the fields of `QuoteEvidence`, which lists have only with as_of."""

    observed_at = ObservedAtField(
        required=False,
        help_text="When the market was last observed by as_of, or by now, changed or not.",
    )
    evidence_age_seconds = EvidenceAgeField(
        required=False,
        help_text="Seconds from observed_at to as_of, or to now; null where that is unknown.",
    )
    being_observed = serializers.BooleanField(
        required=False,
        help_text="True if observed_at is recent enough and as_of, or now, lies in no outage.",
    )


@with_example(examples.MARKET)
class MarketSerializer(QuotedSerializer, EvidenceSerializer, AsOfSerializer):
    """A market with its newest quote. Prices are in dollars on the YES scale; null is unknown.

    Lists have the same fields, as plain rows (`Market.objects.rows`) in a third of the time.
    """

    series_ticker = serializers.CharField(source="event.series.ticker")
    event_ticker = serializers.CharField(source="event.ticker")
    event_title = serializers.CharField(source="event.title")
    category = serializers.CharField(source="event.series.category")
    close_time = serializers.DateTimeField(
        allow_null=True,
        help_text="Null if unknown; with as_of also where only the final one is recorded.",
    )
    floor_strike = ExactField()
    cap_strike = ExactField()
    is_hot = serializers.BooleanField(
        allow_null=True, help_text="True if every tick observes it. Null with as_of."
    )

    class Meta:
        model = Market
        fields = [*MARKET_ROW, *AS_OF_FIELDS, *EVIDENCE_FIELDS]
        read_only_fields = fields
        extra_kwargs = QUOTE_HELP | {
            "volume_24h": {"help_text": "Contracts traded in the last 24 hours."},
            "previous_price": {"help_text": f"Price of the newest trade a day ago. {PRICE}"},
            "settlement_value": {"help_text": "Dollars paid for one YES; null before settlement."},
        }


@with_example(examples.EVENT)
class EventSerializer(AsOfSerializer):
    """An event. Its fee terms are null or empty where those of its series apply."""

    series_ticker = serializers.CharField()
    category = serializers.CharField()
    fee_multiplier_override = ExactField()
    settlement_sources = SourcesField(help_text="The sources that settle its markets.")
    markets = MarketSerializer(
        many=True, required=False, help_text="Its markets; only with markets=true."
    )

    class Meta:
        model = Event
        fields = [*EVENT_ROW, *AS_OF_FIELDS, "markets"]
        read_only_fields = fields


class EventBriefSerializer(serializers.ModelSerializer[Event]):
    class Meta:
        model = Event
        fields = ["ticker", "title", "sub_title", "mutually_exclusive", "strike_date"]
        read_only_fields = fields


@with_example(examples.MARKET_DETAIL)
class MarketDetailSerializer(MarketSerializer):
    """One market with its rules and price grid."""

    event = EventBriefSerializer()
    price_ranges = PriceRangesField(
        help_text="The price grid: the ranges of prices in dollars, each with its step."
    )

    class Meta(MarketSerializer.Meta):
        fields = [
            *MarketSerializer.Meta.fields,
            "event",
            "price_level_structure",
            "price_ranges",
            "settlement_timer_seconds",
            "rules_primary",
            "rules_secondary",
            "exchange_index",
            "is_provisional",
            "is_placeholder",
            "created_time",
            "updated_time",
            "recorded_at",
        ]
        read_only_fields = fields


@with_example(examples.POLL)
class PollSerializer(serializers.ModelSerializer[Poll]):
    """One run of the recorder."""

    ages = AgesField(
        help_text=(
            "By tier, the age in seconds of its markets' quotes when this run observed them"
            " again: p50, p95, max."
        )
    )
    failed = serializers.BooleanField(help_text="True if quotes are missing from this run.")
    warned = serializers.BooleanField(
        help_text="True if something failed beside the quotes, which were recorded."
    )

    class Meta:
        model = Poll
        fields = [
            "id",
            "started_at",
            "finished_at",
            "failed",
            "warned",
            "pages",
            "requests",
            "bytes",
            "throttled",
            "markets",
            "snapshots",
            "order_books",
            "rejected",
            "ages",
            "exchange_active",
            "trading_active",
        ]
        read_only_fields = fields


@with_example(examples.SNAPSHOT)
class SnapshotSerializer(QuotedSerializer):
    """One observation of the top of a market's order book."""

    raw_data = LeftoverField(help_text="The fields of the payload that no column holds.")
    ticker = serializers.CharField(source="market.ticker")

    class Meta:
        model = MarketSnapshot
        fields = [
            "id",
            "ticker",
            "timestamp",
            "recorded_at",
            "source",
            "sequence",
            *QUOTE,
            "quality",
            "raw_data",
        ]
        read_only_fields = fields
        extra_kwargs = QUOTE_HELP


@with_example(examples.LATEST)
class LatestSerializer(SnapshotSerializer, EvidenceSerializer):
    """A market's newest snapshot, and whether its quote still stands."""

    class Meta(SnapshotSerializer.Meta):
        fields = [*SnapshotSerializer.Meta.fields, *EVIDENCE_FIELDS]
        read_only_fields = fields
