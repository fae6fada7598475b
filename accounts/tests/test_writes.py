"""Whatever changes something is for people with the right to, and guarded against forgery."""

import re
import runpy
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as live_settings
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RoutePattern
from django.views.generic import RedirectView
from rest_framework.test import APIClient

from accounts.tests.factories import a_token
from backtests.tests.factories import a_backtest, a_user
from kalshi_insights import settings as settings_module
from kalshi_insights.rest.authentication import ThrottledTokenAuthentication
from kalshi_insights.rest.errors import unknown_route
from kalshi_insights.rest.permissions import ScopedWrite
from markets.tests.factories import a_market

UNSAFE = {"post", "put", "patch", "delete"}
# The pages that serve whoever is not signed in.
ENTRANCES = ("/accounts/sign-in/", "/accounts/sign-out/", "/accounts/password/reset/")


def patterns(
    of: "list[URLPattern | URLResolver]", before: str = ""
) -> Iterator[tuple[str, URLPattern]]:
    for each in of:
        path = before + str(each.pattern)
        if isinstance(each, URLResolver):
            yield from patterns(each.url_patterns, path)
        else:
            yield path, each


SITE = [
    (path, pattern)
    for path, pattern in patterns(get_resolver("kalshi_insights.urls").url_patterns)
    if not path.startswith(live_settings.ADMIN_URL)
]
VIEWS = [(path, pattern.callback) for path, pattern in SITE if hasattr(pattern.callback, "cls")]
PAGES = [
    "/" + re.sub(r"<\w+:\w+>", "1", path)
    for path, pattern in SITE
    if isinstance(pattern.pattern, RoutePattern)
    and not hasattr(pattern.callback, "cls")
    and getattr(pattern.callback, "view_class", None) is not RedirectView
]


def writes(callback: Any) -> set[str]:
    """The methods by which a view of the API is written to."""
    actions = getattr(callback, "actions", None)
    return UNSAFE & (set(actions) if actions else set(dir(callback.cls)))


def test_only_the_api_is_exempt_from_the_check_against_forgery():
    exempt = [
        path
        for path, pattern in SITE
        if getattr(pattern.callback, "csrf_exempt", False)
        and pattern.callback is not unknown_route
        and not hasattr(pattern.callback, "cls")
    ]
    assert exempt == []


def test_every_view_of_the_api_that_is_written_to_asks_for_scope_and_right():
    written = [(path, callback.cls) for path, callback in VIEWS if writes(callback)]
    assert len(written) >= 2
    for path, view in written:
        assert ScopedWrite in view.permission_classes, path
        assert ThrottledTokenAuthentication in view.authentication_classes, path


@pytest.mark.django_db
def test_a_token_that_may_only_read_writes_nowhere():
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {a_token(a_user('root', is_staff=True))}")
    a_backtest("queued", id=1)
    a_market("X")
    for path in ("markets/", "markets/X/", "backtests/", "backtests/1/cancel/", "polls/"):
        for method in UNSAFE:
            response = getattr(client, method)(f"/api/v1/{path}", {}, format="json")
            assert response.status_code == 403, (method, path)
            assert "has the scope read" in response.json()["message"]


@pytest.mark.django_db
@pytest.mark.filterwarnings("ignore:No directory at")
@pytest.mark.parametrize("path", PAGES)
def test_no_page_is_written_to_by_a_stranger_or_without_a_token_against_forgery(path):
    a_backtest("queued", id=1)
    stranger = Client().post(path)
    to_sign_in = stranger.headers.get("Location", "").startswith("/accounts/sign-in/")
    refused = stranger.status_code in (403, 404, 405) or to_sign_in
    assert refused or path.startswith(ENTRANCES), stranger.status_code
    forged = Client(enforce_csrf_checks=True)
    forged.force_login(a_user())
    assert forged.post(path).status_code in (403, 404, 405)


def test_the_admin_is_where_one_wishes(settings):
    settings.ADMIN_URL = "back/office/"
    api_views = runpy.run_path(str(live_settings.BASE_DIR / "kalshi_insights" / "urls.py"))[
        "urlpatterns"
    ]
    paths = [str(each.pattern) for each in api_views]
    assert paths[:3] == ["back/office/login/", "back/office/password_change/", "back/office/"]
    assert not any(path.startswith("admin") for path in paths)


def test_the_admin_cannot_hide_an_address_of_the_site():
    firsts = {path.split("/")[0] for path, _ in SITE}
    named = {first for first in firsts if re.fullmatch(r"[a-z]+", first)}
    assert named <= set(settings_module.OWN_ADDRESSES)
