"""Authentication of the API by token."""

from datetime import UTC, datetime
from typing import Any

from knox.auth import TokenAuthentication
from knox.models import get_token_model
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request

from kalshi_insights.rest.throttling import ApiRateThrottle


class ThrottledTokenAuthentication(TokenAuthentication):
    """Token authentication in which a wrong token counts against the anonymous rate limit.

    DRF throttles only after it has authenticated, so guessing tokens would otherwise be free.
    """

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        try:
            found: tuple[Any, Any] | None = super().authenticate(request)
        except AuthenticationFailed:
            if wait := ApiRateThrottle().count_address(request):
                raise Throttled(wait) from None
            raise
        return found

    def authenticate_credentials(self, token: bytes) -> tuple[Any, Any]:
        """Find the token by its hash, in one query, and note its use.

        knox looks for the first characters, reads all tokens of the user and deletes expired
        ones, and fails at bytes that are not UTF-8.
        """
        now = datetime.now(UTC)
        found = get_token_model().objects.find(token.decode("latin-1"))
        if found is None or not found.user.is_active:
            raise AuthenticationFailed("Invalid token.")
        if found.is_expired(now):
            raise AuthenticationFailed(f"This token expired on {found.expiry:%Y-%m-%d}.")
        found.mark_used(now)
        return found.user, found
