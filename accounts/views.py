"""The pages of a person's account; allauth's views sign in and change passwords."""

from datetime import UTC, datetime

from allauth.account import views as allauth_views
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.forms import ApiTokenForm
from accounts.models import ApiToken


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def token_list(request: HttpRequest) -> HttpResponse:
    """Show the user's tokens; a POST makes one, whose secret stands on its answer alone."""
    user: User = request.user  # type: ignore[assignment]
    now = datetime.now(UTC)
    is_sent = request.method == "POST"
    form = ApiTokenForm(request.POST if is_sent else None, user=user)
    issued = form.issue(now=now) if is_sent and form.is_valid() else None
    token, secret = issued or (None, "")
    context = {
        "form": ApiTokenForm(user=user) if token else form,
        "token": token,
        "secret": secret,
        "tokens": ApiToken.objects.of_user(user),
        "now": now,
    }
    status = 400 if is_sent and not token else 200
    return render(request, "accounts/token_list.html", context, status=status)


@login_required
@require_POST
def token_revoke(request: HttpRequest, id: int) -> HttpResponse:
    user: User = request.user  # type: ignore[assignment]
    token = get_object_or_404(ApiToken.objects.of_user(user), pk=id)
    token.delete()
    messages.success(request, f"The token {token.name} is revoked.")
    return redirect("accounts:tokens")


def password_reset(request: HttpRequest) -> HttpResponseBase:
    if not settings.EMAIL_URL:
        raise Http404(
            "This site sends no mail. Whoever runs it sets a new password:"
            " manage.py changepassword NAME."
        )
    response: HttpResponseBase = allauth_views.password_reset(request)
    return response
