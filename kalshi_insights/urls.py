"""The URLs of the site."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/v1/", include(("kalshi_insights.api", "api"))),
    path("backtests/", include("backtests.urls")),
    path("", include("markets.urls")),
]
