"""API tokens of a person, with a scope, an expiry and their last use."""

from datetime import datetime, timedelta
from typing import Self

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models, transaction
from django.db.models import Q
from django.utils import timezone
from knox.crypto import hash_token
from knox.models import get_digest_token
from knox.settings import CONSTANTS, knox_settings

from backtests.models import RUN_BACKTESTS
from kalshi_insights.bad_input import BadInput
from kalshi_insights.rest.permissions import Scope

MAX_TOKENS = 50
MAX_NAME_LENGTH = 60
# Reading by a token writes its last use at most this often.
LAST_USE_PRECISION = timedelta(minutes=1)


def scopes_of(user: User) -> list[Scope]:
    """The scopes that a token of this user can make use of."""
    allowed = {
        Scope.READ: True,
        Scope.BACKTEST: user.has_perm(RUN_BACKTESTS),
        Scope.OPERATE: user.is_staff,
    }
    return [scope for scope in Scope if allowed[scope]]


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def of_user(self, user: User) -> Self:
        return self.filter(user=user).order_by("-created", "-id")

    def find(self, secret: str) -> "ApiToken | None":
        """The token with this secret, expired or not, and its user."""
        return self.select_related("user").filter(digest=hash_token(secret)).first()

    def issue(
        self,
        user: User,
        *,
        name: str,
        scope: Scope,
        expiry: datetime | None,
        replace: bool = False,
    ) -> "tuple[ApiToken, str]":
        """Make a token and return it with its secret, which is not stored and never told again.

        Raises BadInput. Where `replace` is set, the user's token of this name ends.
        """
        _check(user, name=name, scope=scope, expiry=expiry)
        with transaction.atomic():
            # One token of a user at a time, so that names and their number hold.
            owner = User.objects.select_for_update().get(pk=user.pk)
            existing = self.of_user(owner)
            if replace:
                existing.filter(name=name).delete()
            _check_room(existing, name)
            digest, secret = get_digest_token()
            token = self.create(
                user=owner,
                name=name,
                scope=scope,
                expiry=expiry,
                digest=digest,
                token_key=secret[: CONSTANTS.TOKEN_KEY_LENGTH],
            )
        return token, secret


def _check(user: User, *, name: str, scope: Scope, expiry: datetime | None) -> None:
    if not (name.isprintable() and 0 < len(name) <= MAX_NAME_LENGTH):
        raise BadInput("name", f"Must have 1 to {MAX_NAME_LENGTH} printable characters.")
    if scope not in scopes_of(user):
        raise BadInput("scope", f"{user.get_username()} does not have the rights for {scope}.")
    if expiry is not None and expiry <= timezone.now():
        raise BadInput("expires", "Lies in the past.")


def _check_room(existing: ApiTokenQuerySet, name: str) -> None:
    if existing.filter(name=name).exists():
        raise BadInput("name", f"There is a token {name} already.")
    if existing.count() >= MAX_TOKENS:
        raise BadInput("user", f"There are {MAX_TOKENS} tokens already. Revoke one first.")


class ApiToken(models.Model):
    """A token for the API. Only a hash of its secret is stored.

    `created`, `expiry`, `digest` and `token_key` are the names that knox reads.
    """

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="auth_token_set"
    )
    name = models.CharField(max_length=MAX_NAME_LENGTH)
    scope = models.CharField(max_length=10, choices=Scope, default=Scope.READ)
    created = models.DateTimeField(auto_now_add=True)
    expiry = models.DateTimeField(null=True, blank=True, help_text="Without one it never ends.")
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="To the minute.")
    digest = models.CharField(max_length=CONSTANTS.DIGEST_LENGTH, unique=True, editable=False)
    token_key = models.CharField(
        "begins with",
        max_length=CONSTANTS.MAXIMUM_TOKEN_PREFIX_LENGTH + CONSTANTS.TOKEN_KEY_LENGTH,
        editable=False,
    )

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        verbose_name = "API token"
        ordering = ["-created", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["user", "name"], name="token_name_once_a_user"),
            models.CheckConstraint(condition=Q(scope__in=Scope.values), name="token_scope_known"),
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.user}"

    @property
    def hint(self) -> str:
        """The beginning of the secret, by which its owner recognises it."""
        return self.token_key[: len(knox_settings.TOKEN_PREFIX) + 5]

    def is_expired(self, now: datetime) -> bool:
        return self.expiry is not None and self.expiry <= now

    def mark_used(self, now: datetime) -> None:
        if self.last_used_at is None or now - self.last_used_at >= LAST_USE_PRECISION:
            type(self).objects.filter(pk=self.pk).update(last_used_at=now)
