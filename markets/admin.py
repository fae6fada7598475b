from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from markets.models import Event, Market, MarketSnapshot, Poll, Series, Sweep, Watch


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


@admin.register(Watch)
class WatchAdmin(admin.ModelAdmin):
    list_display = ["user", "market", "created_at"]
    list_select_related = ["user", "market"]
    autocomplete_fields = ["market"]
    search_fields = ["market__ticker", "user__username"]
