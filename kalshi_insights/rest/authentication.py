"""Authentication of the API by token."""

from typing import Any

from rest_framework.authentication import TokenAuthentication
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request

from kalshi_insights.rest.throttling import ApiRateThrottle


class ThrottledTokenAuthentication(TokenAuthentication):
    """Token authentication in which a wrong token counts against the anonymous rate limit.

    DRF throttles only after it has authenticated, so guessing tokens would otherwise be free.
    """

    def authenticate(self, request: Request) -> tuple[Any, Any] | None:
        try:
            return super().authenticate(request)
        except AuthenticationFailed:
            if wait := ApiRateThrottle().count_address(request):
                raise Throttled(wait) from None
            raise
