from rest_framework import serializers

from markets.models import Event, Market, MarketSnapshot

QUOTE = [
    "yes_bid",
    "yes_ask",
    "yes_bid_size",
    "yes_ask_size",
    "last_price",
    "volume",
    "open_interest",
]


class MarketSerializer(serializers.ModelSerializer[Market]):
    """A market with its newest quote. Prices in dollars on the YES scale; null is unknown.

    Lists show the same fields as plain rows (`Market.objects.rows`), in a third of the time.
    """

    series_ticker = serializers.CharField(source="event.series.ticker")
    event_ticker = serializers.CharField(source="event.ticker")
    event_title = serializers.CharField(source="event.title")
    category = serializers.CharField(source="event.series.category")

    class Meta:
        model = Market
        fields = [
            "ticker",
            "event_ticker",
            "series_ticker",
            "category",
            "event_title",
            "title",
            "yes_sub_title",
            "no_sub_title",
            "market_type",
            "status",
            "result",
            "settlement_value",
            "settlement_ts",
            "open_time",
            "close_time",
            "expected_expiration_time",
            "latest_expiration_time",
            "can_close_early",
            "strike_type",
            "floor_strike",
            "cap_strike",
            *QUOTE,
            "volume_24h",
            "previous_price",
            "quoted_at",
            "is_hot",
        ]


class EventSerializer(serializers.ModelSerializer[Event]):
    class Meta:
        model = Event
        fields = ["ticker", "title", "sub_title", "mutually_exclusive", "strike_date"]


class MarketDetailSerializer(MarketSerializer):
    """One market with its rules and grid."""

    event = EventSerializer()

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
            "created_time",
            "updated_time",
            "recorded_at",
        ]


class SnapshotSerializer(serializers.ModelSerializer[MarketSnapshot]):
    """One observation of a market's top of book."""

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
