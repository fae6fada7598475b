"""Factories of tokens, and of users with a password."""

from datetime import datetime

from django.contrib.auth.models import User

from accounts.models import ApiToken
from kalshi_insights.rest.permissions import Scope

PASSWORD = "a password for tests"


def a_token(
    user: User, scope: str = "read", *, name: str = "tests", expiry: datetime | None = None
) -> str:
    """Make a token and return its secret."""
    _, secret = ApiToken.objects.issue(user, name=name, scope=Scope(scope), expiry=expiry)
    return secret


def a_person(name: str = "ada", **values: object) -> User:
    """A user who can sign in with `PASSWORD`, and who is no staff unless said so."""
    return User.objects.create_user(name, password=PASSWORD, **values)  # type: ignore[arg-type]
