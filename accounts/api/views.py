"""The API's view of an account."""

from typing import cast

from django.contrib.auth.models import User
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.serializers import AccountSerializer, account
from accounts.models import ApiToken
from kalshi_insights.rest.parameters import KnownParameters
from kalshi_insights.rest.permissions import ScopedWrite


class AccountView(KnownParameters):
    """The user who asks, what they may do, and the token that they sent."""

    permission_classes = [IsAuthenticated, ScopedWrite]

    @extend_schema(responses=AccountSerializer)
    def get(self, request: Request) -> Response:
        token = cast(ApiToken | None, request.auth)
        return Response(account(cast(User, request.user), token))
