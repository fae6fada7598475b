from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from accounts.models import ApiToken
from kalshi_insights.admin import ReadOnlyAdmin


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    """Tokens are seen and revoked here; making one would have to show its secret."""

    list_display = ["name", "user", "token_key", "scope", "created", "expiry", "last_used_at"]
    list_filter = ["scope"]
    list_select_related = ["user"]
    search_fields = ["name", "user__username", "token_key"]
    exclude = ["digest"]

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)
