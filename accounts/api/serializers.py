"""The API's description of an account and of the token in use."""

from typing import Any

from django.contrib.auth.models import User
from rest_framework import serializers

from accounts.models import ApiToken, scopes_of
from kalshi_insights.rest.permissions import Scope
from kalshi_insights.rest.schema import with_example

EXAMPLE = {
    "username": "ada",
    "scopes": ["read", "backtest"],
    "token": {
        "name": "nightly study",
        "scope": "backtest",
        "created_at": "2026-11-20T12:00:00Z",
        "expires_at": "2027-02-18T12:00:00Z",
        "last_used_at": "2026-11-20T12:41:07.120000Z",
    },
}


class ApiTokenSerializer(serializers.ModelSerializer[ApiToken]):
    created_at = serializers.DateTimeField(source="created")
    expires_at = serializers.DateTimeField(
        source="expiry", allow_null=True, help_text="Null where it never ends."
    )

    class Meta:
        model = ApiToken
        fields = ["name", "scope", "created_at", "expires_at", "last_used_at"]
        extra_kwargs = {
            "scope": {"help_text": "Each scope includes those before it."},
            "last_used_at": {"help_text": "Before this request, to the minute."},
        }


@with_example(EXAMPLE)
class AccountSerializer(serializers.Serializer[Any]):
    username = serializers.CharField()
    scopes = serializers.ListField(
        child=serializers.ChoiceField(Scope.choices),
        help_text="What the user has the rights for; a token may be granted less.",
    )
    token = ApiTokenSerializer(allow_null=True, help_text="Null where a session asks.")


def account(user: User, token: ApiToken | None) -> dict[str, object]:
    return {
        "username": user.get_username(),
        "scopes": scopes_of(user),
        "token": ApiTokenSerializer(token).data if token else None,
    }
