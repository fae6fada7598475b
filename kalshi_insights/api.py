"""The router of `/api/v1`."""

from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import APIRootView, DefaultRouter

from accounts.api.views import AccountView
from backtests.api.searches import SearchViewSet
from backtests.api.viewsets import BacktestViewSet, StrategyViewSet
from kalshi_insights.health import HealthView
from kalshi_insights.rest.errors import unknown_route
from markets.api.calibration import CalibrationMarketViewSet, CalibrationView
from markets.api.imports import ImportViewSet
from markets.api.outages import OutageViewSet
from markets.api.trades import TapeViewSet, TradeViewSet
from markets.api.viewsets import (
    EventViewSet,
    MarketViewSet,
    PollViewSet,
    SeriesViewSet,
    SnapshotViewSet,
)

LISTS = (
    "series",
    "events",
    "markets",
    "trades",
    "tape",
    "polls",
    "outages",
    "calibration",
    "imports",
    "strategies",
    "backtests",
    "searches",
)


class Root(APIRootView):
    """All resources of the API; replace the names in braces."""

    name = "Kalshi Insights API"

    def get(self, request: Request) -> Response:
        here = request.build_absolute_uri(request.path)
        market_resources = {
            name: f"{here}markets/{{ticker}}/{name}/"
            for name in sorted(action.__name__ for action in MarketViewSet.get_extra_actions())
        }
        backtest_resources = {
            name: f"{here}backtests/{{id}}/{name}/"
            for name in sorted(action.__name__ for action in BacktestViewSet.get_extra_actions())
        }
        search_resources = {
            name: f"{here}searches/{{id}}/{name}/"
            for name in sorted(action.__name__ for action in SearchViewSet.get_extra_actions())
        }
        return Response(
            {
                **{name: f"{here}{name}/" for name in LISTS},
                "market": f"{here}markets/{{ticker}}/",
                **{f"market_{name}": address for name, address in market_resources.items()},
                "tape_days": f"{here}tape/days/",
                "calibration_markets": f"{here}calibration/markets/",
                "import": f"{here}imports/{{id}}/",
                "strategy": f"{here}strategies/{{name}}/",
                "backtest": f"{here}backtests/{{id}}/",
                **{f"backtest_{name}": address for name, address in backtest_resources.items()},
                "search": f"{here}searches/{{id}}/",
                **{f"search_{name}": address for name, address in search_resources.items()},
                "snapshot": f"{here}snapshots/{{uuid}}/",
                "account": f"{here}account/",
                "health": f"{here}health/",
                "schema": f"{here}schema/",
                "swagger": f"{here}schema/swagger/",
            }
        )


class SchemaView(SpectacularAPIView):
    def _get_version_parameter(self, request: Request) -> None:
        """The API has one version; the one that a query names would go into a header unread."""
        return


class Router(DefaultRouter):
    # A suffix such as `.json` would swallow the end of a ticker that has a dot.
    include_format_suffixes = False
    APIRootView = Root


router = Router()
router.register("series", SeriesViewSet, basename="series")
router.register("events", EventViewSet, basename="event")
router.register("markets", MarketViewSet, basename="market")
router.register("snapshots", SnapshotViewSet, basename="snapshot")
router.register("trades", TradeViewSet, basename="trade")
router.register("tape", TapeViewSet, basename="tape")
router.register("polls", PollViewSet, basename="poll")
router.register("outages", OutageViewSet, basename="outage")
router.register("calibration/markets", CalibrationMarketViewSet, basename="calibration-market")
router.register("imports", ImportViewSet, basename="import")
router.register("strategies", StrategyViewSet, basename="strategy")
router.register("backtests", BacktestViewSet, basename="backtest")
router.register("searches", SearchViewSet, basename="search")

urlpatterns = [
    path("", include(router.urls)),
    path("calibration/", CalibrationView.as_view(), name="calibration"),
    path("account/", AccountView.as_view(), name="account"),
    path("health/", HealthView.as_view(throttle_classes=()), name="health"),
    path("schema/", SchemaView.as_view(), name="schema"),
    path(
        "schema/swagger/",
        SpectacularSwaggerSplitView.as_view(url_name="api:schema"),
        name="swagger",
    ),
    re_path(".*", unknown_route),
]
