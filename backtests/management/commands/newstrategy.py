"""The command that writes a beginning of a strategy of one's own, with a test beside it."""

from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from backtests.own import beginnings
from kalshi_insights.bad_input import BadInput

MISUSED = 2


class Command(BaseCommand):
    help = (
        "Write a commented beginning of a strategy into the folder STRATEGIES_PATH, with a test"
        " beside it that passes. Exits with 2, and writes nothing, if the name cannot be used."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="name of the strategy, such as cheap-side")
        parser.add_argument(
            "--kind", choices=beginnings.KINDS, default=beginnings.KINDS[0],
            help="a signal states the positions that it wants, a strategy sends its own orders"
            " (signal)",
        )  # fmt: skip

    def handle(self, *, name: str, kind: str, **options: Any) -> None:
        try:
            strategy, test = beginnings.write(name, kind, settings.STRATEGIES_PATH)
        except BadInput as fault:
            raise CommandError(str(fault), returncode=MISUSED) from None
        yesterday = datetime.now(UTC) - timedelta(days=1)
        self.stdout.write(
            f"{strategy}\n{test}\n\n"
            f"Test it:  python -m pytest {settings.STRATEGIES_PATH}\n"
            f"Run it:   python manage.py runbacktest {name} --series KXBTCD"
            f" --start {yesterday:%Y-%m-%dT%H:%MZ}\n"
            f"Check it: python manage.py checklookahead {name} --series KXBTCD"
        )
