from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from markets.models import (
    ArchivedDay,
    BackfillSpan,
    Candlestick,
    Closure,
    Drift,
    Event,
    EventRevision,
    FeeChange,
    HotPeriod,
    Market,
    MarketRevision,
    MarketSnapshot,
    OrderBookSnapshot,
    Poll,
    RawPayload,
    Series,
    Sweep,
    Trade,
    Watch,
)


class ReadOnly(admin.ModelAdmin):
    """Records are looked at here, never edited."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Series)
class SeriesAdmin(ReadOnly):
    list_display = ["ticker", "title", "category", "frequency", "fee_type", "fee_multiplier"]
    list_filter = ["category", "fee_type"]
    search_fields = ["ticker", "title"]


@admin.register(Event)
class EventAdmin(ReadOnly):
    list_display = ["ticker", "title", "series", "mutually_exclusive", "strike_date"]
    list_filter = ["mutually_exclusive"]
    list_select_related = ["series"]
    search_fields = ["ticker", "title"]


@admin.register(Market)
class MarketAdmin(ReadOnly):
    list_display = ["ticker", "title", "status", "yes_bid", "yes_ask", "quoted_at", "close_time"]
    list_filter = ["status", "is_hot", "result"]
    list_select_related = ["event"]
    search_fields = ["ticker", "title"]
    show_full_result_count = False


@admin.register(MarketSnapshot)
class MarketSnapshotAdmin(ReadOnly):
    list_display = ["timestamp", "market", "source", "yes_bid", "yes_ask", "volume", "quality"]
    list_filter = ["source"]
    list_select_related = ["market"]
    search_fields = ["market__ticker"]
    date_hierarchy = None
    ordering = ["-timestamp"]
    show_full_result_count = False


@admin.register(Poll)
class PollAdmin(ReadOnly):
    list_display = [
        "started_at",
        "seconds",
        "markets",
        "snapshots",
        "pages",
        "requests",
        "throttled",
        "rejected",
        "error",
        "warning",
    ]
    list_filter = [("error", admin.EmptyFieldListFilter)]
    search_fields = ["error"]
    show_full_result_count = False


@admin.register(Sweep)
class SweepAdmin(ReadOnly):
    list_display = ["started_at", "tier", "complete", "finished_at", "markets"]
    list_filter = ["tier", "complete"]
    search_fields = ["tier"]


class OfMarkets(ReadOnly):
    """Rows of which there are very many, each of one market."""

    list_select_related = ["market"]
    search_fields = ["market__ticker"]
    show_full_result_count = False


@admin.register(MarketRevision)
class MarketRevisionAdmin(OfMarkets):
    list_display = [
        "known_at",
        "market",
        "status",
        "result",
        "settlement_value",
        "close_time",
        "known_at_assumed",
    ]
    list_filter = ["status", "known_at_assumed"]
    ordering = ["-known_at"]


@admin.register(EventRevision)
class EventRevisionAdmin(ReadOnly):
    list_display = ["known_at", "event", "title", "fee_type_override", "fee_multiplier_override"]
    list_select_related = ["event"]
    ordering = ["-known_at"]
    search_fields = ["event__ticker"]
    show_full_result_count = False


@admin.register(FeeChange)
class FeeChangeAdmin(ReadOnly):
    list_display = ["effective_at", "series", "event", "fee_type", "fee_multiplier", "known_at"]
    list_select_related = ["series", "event"]
    list_filter = ["fee_type"]
    ordering = ["-effective_at"]
    search_fields = ["series__ticker", "event__ticker"]


@admin.register(OrderBookSnapshot)
class OrderBookSnapshotAdmin(OfMarkets):
    list_display = ["timestamp", "market", "bid_prices", "ask_prices"]
    ordering = ["-timestamp"]


@admin.register(RawPayload)
class RawPayloadAdmin(OfMarkets):
    list_display = ["timestamp", "market"]
    ordering = ["-timestamp"]


@admin.register(Candlestick)
class CandlestickAdmin(OfMarkets):
    list_display = [
        "end_period_ts",
        "market",
        "period_interval",
        "yes_bid_close",
        "yes_ask_close",
        "price_close",
        "volume",
    ]
    list_filter = ["period_interval"]
    ordering = ["-id"]


@admin.register(Trade)
class TradeAdmin(OfMarkets):
    list_display = ["created_time", "market", "yes_price", "count", "taker_outcome_side"]
    list_filter = ["is_block_trade"]
    ordering = ["-id"]


@admin.register(BackfillSpan)
class BackfillSpanAdmin(OfMarkets):
    list_display = ["market", "kind", "start", "end", "done_until", "finished_at"]
    list_filter = ["kind"]


@admin.register(HotPeriod)
class HotPeriodAdmin(OfMarkets):
    list_display = ["market", "started_at", "ended_at"]
    ordering = ["-started_at"]


@admin.register(Closure)
class ClosureAdmin(ReadOnly):
    list_display = ["start", "end", "known_at"]
    ordering = ["-start"]


@admin.register(Drift)
class DriftAdmin(ReadOnly):
    list_display = ["where", "kind", "count", "first_seen_at", "last_seen_at", "sample"]
    list_filter = ["kind"]
    search_fields = ["where"]


@admin.register(ArchivedDay)
class ArchivedDayAdmin(ReadOnly):
    list_display = ["day", "table", "rows", "coverage", "verified_at", "dropped_at"]
    list_filter = ["table"]


@admin.register(Watch)
class WatchAdmin(admin.ModelAdmin):
    list_display = ["user", "market", "created_at"]
    list_select_related = ["user", "market"]
    autocomplete_fields = ["market"]
    search_fields = ["market__ticker", "user__username"]
