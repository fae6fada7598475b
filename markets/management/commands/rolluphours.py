from datetime import UTC, datetime

from django.core.management.base import BaseCommand

from markets.models import MarketHour


class Command(BaseCommand):
    help = (
        "Make the rollup of midpoints by market and hour anew, from which pages draw sparklines"
        " and tell what has moved. Celery keeps it up to date every ten minutes; this is for rows"
        " that came late, such as backfilled ones."
    )

    def handle(self, **options: object) -> None:
        count = MarketHour.objects.rebuild(now=datetime.now(UTC))
        self.stdout.write(f"Rolled up {count:,} hours of markets.")
