"""The URLs of the site."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from accounts.sign_in import limit_attempts
from kalshi_insights.health import HealthView

admin.autodiscover()

urlpatterns = [
    # Before the admin's own URLs: its form has the same limit as the site's, and passwords are
    # changed on one page.
    path(f"{settings.ADMIN_URL}login/", limit_attempts(admin.site.login)),
    path(
        f"{settings.ADMIN_URL}password_change/",
        RedirectView.as_view(pattern_name="account_change_password"),
    ),
    path(settings.ADMIN_URL, admin.site.urls),
    path("accounts/", include("accounts.urls")),
    # The address that load balancers and containers ask.
    path("health", HealthView.as_view(throttle_classes=(), schema=None)),
    path("api/v1/", include(("kalshi_insights.api", "api"))),
    path("backtests/", include("backtests.urls")),
    path("", include("markets.urls")),
]
