"""The URLs of the site."""

from django.contrib import admin
from django.urls import include, path

from kalshi_insights.health import HealthView

urlpatterns = [
    path("admin/", admin.site.urls),
    # The address that load balancers and containers ask.
    path("health", HealthView.as_view(throttle_classes=(), schema=None)),
    path("api/v1/", include(("kalshi_insights.api", "api"))),
    path("backtests/", include("backtests.urls")),
    path("", include("markets.urls")),
]
