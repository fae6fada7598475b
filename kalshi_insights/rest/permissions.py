"""Permission to write by the API: the token's scope and its user's right must both allow it."""

from typing import Any

from django.db import models
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request


class Scope(models.TextChoices):
    """The scopes of a token, each of which includes those before it."""

    READ = "read", "Read"
    BACKTEST = "backtest", "Read, and run backtests"
    OPERATE = "operate", "Read, run backtests, and operate the site"

    def includes(self, other: "Scope") -> bool:
        scopes = list(Scope)
        return scopes.index(self) >= scopes.index(other)


class ScopedWrite(BasePermission):
    """Writing needs a user with the view's right, and of a token also the view's scope.

    A view that names neither `write_scope` nor `write_permission` can only be written to by staff,
    by a token with the scope `operate`. A session has every scope of its user.
    """

    # The view is not annotated as such: its module imports this one.
    def has_permission(self, request: Request, view: object) -> bool:
        if request.method not in SAFE_METHODS and request.user.is_authenticated:
            _check_scope(request, getattr(view, "write_scope", Scope.OPERATE))
            _check_right(request, getattr(view, "write_permission", None))
        return request.method in SAFE_METHODS or request.user.is_authenticated


def _check_scope(request: Request, needed: Scope) -> None:
    token: Any = request.auth
    if token is None or Scope(token.scope).includes(needed):
        return
    raise PermissionDenied(
        f"This token has the scope {token.scope}; this request needs {needed.value}."
    )


def _check_right(request: Request, permission: str | None) -> None:
    user = request.user
    if user.has_perm(permission) if permission else user.is_staff:
        return
    raise PermissionDenied("Your account does not have the right to do this.")
