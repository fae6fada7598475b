"""The URLs of the site."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from accounts.sign_in import limit_attempts
from kalshi_insights.health import HealthView

urlpatterns = [
    # Before the admin's own URLs, so that its form has the same limit as the site's.
    path(f"{settings.ADMIN_URL}login/", limit_attempts(admin.site.login)),
    path(settings.ADMIN_URL, admin.site.urls),
    path("accounts/", include("accounts.urls")),
    # The address that load balancers and containers ask.
    path("health", HealthView.as_view(throttle_classes=(), schema=None)),
    path("api/v1/", include(("kalshi_insights.api", "api"))),
    path("backtests/", include("backtests.urls")),
    path("", include("markets.urls")),
]
