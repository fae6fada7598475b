"""Serializers of the time series of one market, for the schema, and the columns of their files."""

from datetime import timedelta
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from kalshi_insights.export.copy import ColumnTypes
from kalshi_insights.rest.schema import with_example
from markets.api import examples
from markets.api.candlesticks import CANDLESTICKS, STATES
from markets.api.serializers import PriceRangesField
from markets.coverage.causes import Cause
from markets.models import MarketRevision, OrderBookSnapshot, Source, Trade
from markets.models.fields import COUNT, MIDPOINT, PRICE, QUOTE_TYPES
from markets.models.trades import SOURCES

SNAPSHOTS: ColumnTypes = {
    "id": "text",
    "ticker": "text",
    "timestamp": "timestamptz",
    "recorded_at": "timestamptz",
    "source": "text",
    "sequence": "bigint",
    **QUOTE_TYPES,
    "yes_price": MIDPOINT,
    "no_price": MIDPOINT,
    "quality": "smallint",
    "raw_data": "jsonb",
}
TRADES: ColumnTypes = {
    "trade_id": "text",
    "ticker": "text",
    "created_time": "timestamptz",
    "count": COUNT,
    "yes_price": PRICE,
    "taker_outcome_side": "text",
    "taker_book_side": "text",
    "is_block_trade": "boolean",
    "source": "text",
    "known_at": "timestamptz",
    "recorded_at": "timestamptz",
}
REVISIONS: ColumnTypes = {
    "id": "bigint",
    "ticker": "text",
    "known_at": "timestamptz",
    "known_at_assumed": "boolean",
    "recorded_at": "timestamptz",
    "status": "text",
    "result": "text",
    "settlement_value": "numeric(7,6)",
    "settlement_ts": "timestamptz",
    "open_time": "timestamptz",
    "close_time": "timestamptz",
    "expected_expiration_time": "timestamptz",
    "price_ranges": "jsonb",
}
ORDER_BOOKS: ColumnTypes = {
    "id": "text",
    "ticker": "text",
    "timestamp": "timestamptz",
    "bid_prices": f"{PRICE}[]",
    "bid_sizes": f"{COUNT}[]",
    "ask_prices": f"{PRICE}[]",
    "ask_sizes": f"{COUNT}[]",
}
# The columns that a chart draws.
SNAPSHOT_CHART = ("timestamp", *QUOTE_TYPES, "quality")
TRADE_CHART = ("created_time", "yes_price", "count")
CANDLESTICK_CHART = tuple(CANDLESTICKS)


@with_example(examples.TRADE)
class TradeSerializer(serializers.ModelSerializer[Trade]):
    """One public match. `yes_price` in dollars, `count` in contracts."""

    ticker = serializers.CharField(source="market.ticker")
    count = serializers.DecimalField(max_digits=18, decimal_places=2)
    yes_price = serializers.DecimalField(max_digits=6, decimal_places=4)
    taker_outcome_side = serializers.CharField(
        allow_null=True, help_text="The side that the taker bought: yes or no; null if unknown."
    )
    taker_book_side = serializers.CharField(
        allow_null=True, help_text="The same in the book: a bid for YES, or an ask, which buys NO."
    )
    source = serializers.ChoiceField(  # type: ignore[assignment]
        choices=SOURCES,
        help_text="TAPE: recorded live from the list of all trades. BACKFILL: fetched later.",
    )

    class Meta:
        model = Trade
        fields = list(TRADES)


@with_example(examples.REVISION)
class RevisionSerializer(serializers.ModelSerializer[MarketRevision]):
    """The definition of a market that was known from `known_at` until its next revision."""

    price_ranges = PriceRangesField(
        help_text="The price grid: the ranges of prices in dollars, each with its step."
    )
    ticker = serializers.CharField(source="market.ticker")

    class Meta:
        model = MarketRevision
        fields = list(REVISIONS)


def _levels(help_text: str, *, max_digits: int, decimal_places: int) -> serializers.ListField:
    number = serializers.DecimalField(max_digits=max_digits, decimal_places=decimal_places)
    return serializers.ListField(child=number, help_text=f"{help_text}, the best level first.")


@with_example(examples.ORDER_BOOK)
class OrderBookSerializer(serializers.ModelSerializer[OrderBookSnapshot]):
    """A whole order book, with its levels as lists; an empty list is a side without orders."""

    ticker = serializers.CharField(source="market.ticker")
    bid_prices = _levels("Dollars on the YES scale", max_digits=6, decimal_places=4)
    bid_sizes = _levels("Contracts", max_digits=18, decimal_places=2)
    ask_prices = _levels("Dollars on the YES scale", max_digits=6, decimal_places=4)
    ask_sizes = _levels("Contracts", max_digits=18, decimal_places=2)

    class Meta:
        model = OrderBookSnapshot
        fields = list(ORDER_BOOKS)


def _price(help_text: str) -> serializers.DecimalField:
    return serializers.DecimalField(
        max_digits=6, decimal_places=4, allow_null=True, help_text=help_text
    )


@with_example(examples.CANDLESTICK)
class CandlestickSerializer(serializers.Serializer[Any]):
    """The snapshots of one bucket of time; one without a snapshot says in `state` why.

    Prices are in dollars on the YES scale. Open and close are those of the first and the last
    snapshot, high and low those of all snapshots quoted on this side. Null means that nobody
    offered, or that the price is unknown.
    """

    start = serializers.DateTimeField(help_text="The bucket's first instant.")
    yes_bid_open = _price("Best bid of the first snapshot.")
    yes_bid_high = _price("Highest best bid.")
    yes_bid_low = _price("Lowest best bid.")
    yes_bid_close = _price("Best bid of the last snapshot.")
    yes_ask_open = _price("Best ask of the first snapshot.")
    yes_ask_high = _price("Highest best ask.")
    yes_ask_low = _price("Lowest best ask.")
    yes_ask_close = _price("Best ask of the last snapshot.")
    last_price = _price("Price of the newest trade as of the last snapshot; it may be old.")
    volume = serializers.DecimalField(
        max_digits=18,
        decimal_places=2,
        allow_null=True,
        help_text="Contracts traded since the last snapshot before the bucket; null if unknown.",
    )
    snapshots = serializers.IntegerField(help_text="Number of snapshots in the bucket.")
    state = serializers.ChoiceField(
        choices=[(state, state) for state in STATES],
        help_text=(
            "recorded: it has snapshots. quiet: observed throughout, and nothing changed."
            " unobserved: not observed, or not throughout. untradable: not open, paused or over."
        ),
    )


class LevelSerializer(serializers.Serializer[Any]):
    price = serializers.DecimalField(
        max_digits=6, decimal_places=4, help_text="Dollars, YES scale."
    )
    size = serializers.DecimalField(max_digits=18, decimal_places=2, help_text="Contracts.")


@with_example(examples.BOOK)
class BookSerializer(serializers.Serializer[Any]):
    """An order book with all of its recorded levels, the best first."""

    ticker = serializers.CharField(source="market.ticker")
    timestamp = serializers.DateTimeField(
        help_text="When this book was first observed. Books are recorded when they change."
    )
    evidence_age_seconds = serializers.FloatField(
        help_text="Seconds from then to as_of, or to now."
    )
    being_observed = serializers.BooleanField(
        help_text="True if the market's quotes were being observed at that instant."
    )
    bids = LevelSerializer(many=True)
    asks = LevelSerializer(many=True)


@extend_schema_field(OpenApiTypes.DOUBLE)
class SecondsField(serializers.Field[Any, Any, float, timedelta]):
    def to_representation(self, value: timedelta) -> float:
        return value.total_seconds()


class IntervalSerializer(serializers.Serializer[Any]):
    """An interval that begins at `start` and ends before `end`."""

    start = serializers.DateTimeField()
    end = serializers.DateTimeField()


class ExpectedSerializer(IntervalSerializer):
    fresh_for = SecondsField(help_text="Seconds for which an observation counted as fresh.")


class GapSerializer(IntervalSerializer):
    cause = serializers.ChoiceField(choices=[(cause.value, cause.value) for cause in Cause])
    detail = serializers.CharField()
    counted = serializers.BooleanField(help_text="True where the gap lowers the share.")


class SourceSerializer(serializers.Serializer[Any]):
    source = serializers.ChoiceField(choices=Source.choices)  # type: ignore[assignment]
    observed = SecondsField(help_text="Seconds outside the gaps between its observations.")


@with_example(examples.COVERAGE)
class CoverageSerializer(IntervalSerializer):
    """The coverage of a market: the gaps and the time observed make up the window."""

    expected = ExpectedSerializer(many=True, help_text="How often it was to be observed.")
    observed = SecondsField(help_text="Seconds outside the gaps.")
    share = serializers.FloatField(
        allow_null=True,
        help_text="Time observed, as a share of it and the gaps that count; null without either.",
    )
    sources = SourceSerializer(
        many=True, source="by_source", help_text="What each source would have observed alone."
    )
    gaps = GapSerializer(many=True, help_text="Each from one observation to the next.")
    fresh = SecondsField(
        help_text="Seconds in which it could be traded and the last observation was fresh."
    )
    stale = IntervalSerializer(
        many=True, help_text="Intervals in which the last observation was older than expected."
    )
    quiet = IntervalSerializer(many=True, help_text="Observed intervals without a change.")
