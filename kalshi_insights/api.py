"""The one router of `/api/v1`."""

from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.routers import DefaultRouter

from kalshi_insights.errors import unknown_route
from kalshi_insights.health import HealthView
from markets.viewsets import MarketViewSet, SnapshotViewSet


class Router(DefaultRouter):
    # A suffix such as `.json` would eat the end of a ticker that has a dot.
    include_format_suffixes = False


router = Router()
router.register("markets", MarketViewSet, basename="market")
router.register("snapshots", SnapshotViewSet, basename="snapshot")

urlpatterns = [
    path("", include(router.urls)),
    path("health/", HealthView.as_view(), name="health"),
    path("schema/", SpectacularAPIView.as_view(), name="schema"),
    path(
        "schema/swagger/",
        SpectacularSwaggerSplitView.as_view(url_name="api:schema"),
        name="swagger",
    ),
    re_path(".*", unknown_route),
]
