from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from accounts.models import ApiToken
from kalshi_insights.bad_input import BadInput
from kalshi_insights.commands import parse_instant
from kalshi_insights.rest.permissions import Scope

VALID_FOR = timedelta(days=90)


class Command(BaseCommand):
    help = "Create and print an API token, for the header Authorization: Token <token>."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--name", default="script", help="what uses it (default: script)")
        parser.add_argument(
            "--scope",
            choices=Scope.values,
            default=Scope.READ.value,
            help="what it may do; each scope includes those before it (default: read)",
        )
        parser.add_argument(
            "--expires",
            default="",
            metavar="WHEN",
            help=f"a day or an instant, or never (default: in {VALID_FOR.days} days)",
        )
        parser.add_argument(
            "--rotate", action="store_true", help="replace the user's token of this name"
        )

    def handle(
        self,
        *,
        username: str,
        name: str,
        scope: str,
        expires: str,
        rotate: bool,
        **options: object,
    ) -> str:
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no user {username}.")
        try:
            _, secret = ApiToken.objects.issue(
                user,
                name=name,
                scope=Scope(scope),
                expiry=read_expiry(expires, now=datetime.now(UTC)),
                replace=rotate,
            )
        except BadInput as fault:
            hint = " --rotate replaces it." if fault.field == "name" else ""
            raise CommandError(f"--{fault}{hint}") from None
        return secret


def read_expiry(text: str, *, now: datetime) -> datetime | None:
    if text == "never":
        return None
    return parse_instant("expires", text) if text else now + VALID_FOR
