"""The URLs of accounts. allauth finds its own views by their global names.

Its views for signing up and for managing addresses have no URL.
"""

from allauth.account import views as allauth_views
from django.urls import include, path, re_path

from accounts import views
from accounts.sign_in import limit_attempts

TOKENS = [
    path("", views.token_list, name="tokens"),
    path("<int:id>/revoke/", views.token_revoke, name="revoke"),
]

urlpatterns = [
    path("sign-in/", limit_attempts(allauth_views.login), name="account_login"),
    path("sign-out/", allauth_views.logout, name="account_logout"),
    path(
        "password/",
        limit_attempts(allauth_views.password_change),
        name="account_change_password",
    ),
    path("password/reset/", limit_attempts(views.password_reset), name="account_reset_password"),
    path(
        "password/reset/sent/",
        allauth_views.password_reset_done,
        name="account_reset_password_done",
    ),
    path(
        "password/reset/done/",
        allauth_views.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
    re_path(
        r"^password/reset/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        limit_attempts(allauth_views.password_reset_from_key),
        name="account_reset_password_from_key",
    ),
    path("tokens/", include((TOKENS, "accounts"))),
]
