from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.db.models import Max, QuerySet
from django.http import HttpRequest

from kalshi_insights.admin import CappedPaginator, ReadOnlyAdmin
from markets.models import (
    ArchivedDay,
    BackfillSpan,
    Candlestick,
    Closure,
    DiskUsage,
    Drift,
    Event,
    EventRevision,
    EventSearchText,
    FeeChange,
    HotPeriod,
    Import,
    ImportedPeriod,
    ImportedSpan,
    ListedMarket,
    Market,
    MarketRevision,
    MarketSearchText,
    MarketSnapshot,
    OrderBookSnapshot,
    PastPrice,
    PayloadBlock,
    Poll,
    Series,
    SeriesSearchText,
    Status,
    Sweep,
    TapeDay,
    TapeSpan,
    Trade,
    WaitingTrade,
    Watch,
)
from markets.models.imports import UNDO_IMPORTS
from markets.models.search import MAX_WORDS, search_words
from markets.models.snapshots import why_no_payload


class NounAdmin(ReadOnlyAdmin):
    """Series, events or markets, found by the same words as on the pages."""

    # Django shows the field of a search only where there are columns to search in.
    search_fields = ["ticker"]
    show_full_result_count = False

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        # The fields that complete themselves do not refuse a NUL.
        words = search_words(search_term.replace("\0", " "))
        return queryset.search(words[:MAX_WORDS]), False


class StatusListFilter(admin.SimpleListFilter):
    """Offers the known statuses, and those that the exchange has sent besides."""

    title = "status"
    parameter_name = "status"

    def lookups(
        self, request: HttpRequest, model_admin: "admin.ModelAdmin[Any]"
    ) -> list[tuple[str, str]]:
        unknown = ((word, word) for word in Drift.objects.unknown_statuses())
        return [*Status.choices, *unknown]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(status=self.value()) if self.value() else queryset


@admin.register(Series)
class SeriesAdmin(NounAdmin):
    list_display = ["ticker", "title", "category", "frequency", "fee_type", "fee_multiplier"]
    list_filter = ["category", "fee_type"]


@admin.register(Event)
class EventAdmin(NounAdmin):
    list_display = ["ticker", "title", "series", "mutually_exclusive", "strike_date"]
    list_filter = ["mutually_exclusive"]
    list_select_related = ["series"]


@admin.register(Market)
class MarketAdmin(NounAdmin):
    list_display = ["ticker", "title", "status", "yes_bid", "yes_ask", "quoted_at", "close_time"]
    list_filter = [StatusListFilter, "is_hot", "result"]
    list_select_related = ["event"]


@admin.register(SeriesSearchText, EventSearchText, MarketSearchText)
class SearchTextAdmin(ReadOnlyAdmin):
    list_display = ["text"]
    search_fields = ["text"]
    show_full_result_count = False


@admin.register(Import)
class ImportAdmin(ReadOnlyAdmin):
    """Imported files, which can be undone; the rows go in the background."""

    list_display = ["id", "file", "kind", "state", "rows", "refused", "user", "account",
                    "started_at"]  # fmt: skip
    list_filter = ["state", "kind"]
    list_select_related = ["user"]
    search_fields = ["file", "sha256", "user__username", "account"]
    actions = ["undo"]

    def has_undo_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(UNDO_IMPORTS)

    @admin.action(description="Undo imports", permissions=["undo"])
    def undo(self, request: HttpRequest, selected: QuerySet[Import]) -> None:
        # What somebody uses is told before it goes; the rest of the page says what became of it.
        used = [f"{row}: {', '.join(row.used_by)}" for row in selected if row.used_by]
        count = Import.objects.filter(pk__in=selected.values("pk")).mark_undoing()
        self.message_user(request, f"{count} imports are being undone.")
        if used:
            self.message_user(
                request, f"No longer reproducible: {'; '.join(used)}.", messages.WARNING
            )


class MarketRowsAdmin(ReadOnlyAdmin):
    """Rows of single markets, of which there are very many."""

    list_select_related = ["market"]
    search_fields = ["market__ticker"]
    show_full_result_count = False


@admin.register(ListedMarket)
class ListedMarketAdmin(MarketRowsAdmin):
    """The columns that lists of markets filter, sort and count by."""

    list_display = ["ticker", "status", "changed_at", "close_time", "volume_24h", "yes_price"]
    search_fields = ["ticker"]


@admin.register(PastPrice)
class PastPriceAdmin(MarketRowsAdmin):
    """The midpoints of an hour and a day ago; those by hour (`MarketHour`) have no pages here."""

    list_display = ["market", "hour_ago", "day_ago"]
    search_fields = ["market__ticker"]


@admin.register(Poll)
class PollAdmin(ReadOnlyAdmin):
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
    paginator = CappedPaginator


@admin.register(Sweep)
class SweepAdmin(ReadOnlyAdmin):
    list_display = ["started_at", "tier", "complete", "finished_at", "markets"]
    list_filter = ["tier", "complete"]
    search_fields = ["tier"]
    show_full_result_count = False
    paginator = CappedPaginator


class DailyRowsAdmin(MarketRowsAdmin):
    """Rows of a table partitioned by day, newest first: those of one market, or the last of all.

    No index has the rows of all markets in order of time, and sorting many millions takes too long.
    """

    RECENT = timedelta(minutes=10)
    paginator = CappedPaginator
    ordering = ["-timestamp"]
    sortable_by = ()
    search_help_text = "The whole ticker of a market; without one, the last ten minutes of all."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if search_term:
            found = Market.objects.filter(ticker__iexact=search_term.strip())
            queryset = queryset.filter(market__in=list(found.values_list("pk", flat=True)))
        else:
            queryset = self.recent(queryset)
        return queryset, False

    def recent(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        quoted = Market.objects.filter(quoted_at__lte=datetime.now(UTC))
        newest = quoted.aggregate(at=Max("quoted_at"))["at"]
        since = newest - self.RECENT if newest else None
        return queryset.filter(timestamp__gt=since) if since else queryset.none()


@admin.register(MarketSnapshot)
class MarketSnapshotAdmin(DailyRowsAdmin):
    list_display = ["timestamp", "market", "source", "yes_bid", "yes_ask", "volume", "quality"]
    list_filter = ["source"]
    readonly_fields = ["raw_payload"]

    def raw_payload(self, snapshot: MarketSnapshot) -> str:
        payload = snapshot.raw_payload
        if payload is None:
            return why_no_payload(snapshot.source)
        return payload.decode(errors="replace")


@admin.register(MarketRevision)
class MarketRevisionAdmin(MarketRowsAdmin):
    list_display = [
        "known_at",
        "market",
        "status",
        "result",
        "settlement_value",
        "close_time",
        "known_at_assumed",
    ]
    list_filter = [StatusListFilter, "known_at_assumed"]
    ordering = ["-known_at"]


@admin.register(EventRevision)
class EventRevisionAdmin(ReadOnlyAdmin):
    list_display = ["known_at", "event", "title", "fee_type_override", "fee_multiplier_override"]
    list_select_related = ["event"]
    ordering = ["-known_at"]
    search_fields = ["event__ticker"]
    show_full_result_count = False


@admin.register(FeeChange)
class FeeChangeAdmin(ReadOnlyAdmin):
    list_display = ["effective_at", "series", "event", "fee_type", "fee_multiplier", "known_at"]
    list_select_related = ["series", "event"]
    list_filter = ["fee_type"]
    ordering = ["-effective_at"]
    search_fields = ["series__ticker", "event__ticker"]


@admin.register(OrderBookSnapshot)
class OrderBookSnapshotAdmin(DailyRowsAdmin):
    list_display = ["timestamp", "market", "bid_prices", "ask_prices"]


@admin.register(PayloadBlock)
class PayloadBlockAdmin(ReadOnlyAdmin):
    """Blocks of raw payloads, which are shown with the snapshots that they were read into."""

    list_display = ["last_at", "first_at", "payloads"]
    exclude = ["content"]
    search_fields = ["last_at"]
    show_full_result_count = False
    paginator = CappedPaginator

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("content")


@admin.register(Candlestick)
class CandlestickAdmin(MarketRowsAdmin):
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
class TradeAdmin(DailyRowsAdmin):
    """Trades, the newest first: the key of their table has all of them in order of time."""

    list_display = ["created_time", "market", "yes_price", "count", "taker_outcome_side", "source"]
    # A row's own page would look for its id in every day.
    list_display_links = None
    list_filter = ["is_block_trade", "source_code"]
    ordering = ["-created_time"]
    search_help_text = "The whole ticker of a market."

    def recent(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset


@admin.register(TapeSpan)
class TapeSpanAdmin(ReadOnlyAdmin):
    list_display = ["start", "end", "is_whole", "proof", "scope", "known_at", "tried_at"]
    list_filter = ["is_whole", "proof"]
    search_fields = ["start"]


@admin.register(TapeDay)
class TapeDayAdmin(ReadOnlyAdmin):
    list_display = ["day", "share", "markets", "agreeing", "volume", "contracts", "compared_at"]
    search_fields = ["day"]


@admin.register(WaitingTrade)
class WaitingTradeAdmin(ReadOnlyAdmin):
    list_display = ["created_time", "ticker", "price", "contracts", "asked_at"]
    search_fields = ["ticker"]
    show_full_result_count = False


@admin.register(BackfillSpan)
class BackfillSpanAdmin(MarketRowsAdmin):
    list_display = ["market", "kind", "start", "end", "done_until", "finished_at", "refusal"]
    list_filter = ["kind"]


@admin.register(HotPeriod)
class HotPeriodAdmin(MarketRowsAdmin):
    list_display = ["market", "started_at", "ended_at"]
    ordering = ["-started_at"]


@admin.register(ImportedPeriod)
class ImportedPeriodAdmin(MarketRowsAdmin):
    list_display = ["market", "gap_after", "starts_at", "ends_at", "recorded_at"]
    ordering = ["-id"]


@admin.register(Closure)
class ClosureAdmin(ReadOnlyAdmin):
    list_display = ["start", "end", "known_at"]
    ordering = ["-start"]
    search_fields = ["start"]


@admin.register(ImportedSpan)
class ImportedSpanAdmin(MarketRowsAdmin):
    list_display = ["import_row", "market", "first_at", "last_at", "rows"]
    list_select_related = ["market", "import_row"]


@admin.register(DiskUsage)
class DiskUsageAdmin(ReadOnlyAdmin):
    list_display = ["measured_at", "free_bytes"]
    search_fields = ["measured_at"]
    show_full_result_count = False


@admin.register(Drift)
class DriftAdmin(ReadOnlyAdmin):
    list_display = ["where", "kind", "count", "first_seen_at", "last_seen_at", "sample"]
    list_filter = ["kind"]
    search_fields = ["where"]


@admin.register(ArchivedDay)
class ArchivedDayAdmin(ReadOnlyAdmin):
    list_display = ["day", "table", "rows", "coverage", "verified_at", "dropped_at"]
    list_filter = ["table"]
    search_fields = ["table", "day"]


@admin.register(Watch)
class WatchAdmin(admin.ModelAdmin):
    list_display = ["user", "market", "created_at"]
    list_select_related = ["user", "market"]
    autocomplete_fields = ["market"]
    search_fields = ["market__ticker", "user__username"]
