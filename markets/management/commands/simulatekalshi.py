from argparse import Namespace
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from markets.simulator.server import add_arguments, run


class Command(BaseCommand):
    help = "Serve a simulated Kalshi exchange on loopback until it is interrupted."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        run(Namespace(**options), self.announce)

    def announce(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
