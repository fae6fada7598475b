from datetime import UTC, datetime

from django.core.management.base import BaseCommand

from markets.storage import retention
from markets.storage.retention import Report


class Command(BaseCommand):
    help = (
        "Make the coming days of the tables kept by the day, move rows that wait for a day into"
        " it, drop the days that retention lets go, and lay out by market those that are over. Runs"
        " by itself every ten minutes."
    )

    def handle(self, **options: object) -> None:
        for line in told(retention.maintain(now=datetime.now(UTC))):
            self.stdout.write(line)


def told(report: Report) -> list[str]:
    lines = [
        *(f"rows were waiting for {piece}" for piece in report.waiting),
        *(f"made {piece}" for piece in report.made),
        *(f"dropped {piece}" for piece in report.dropped),
        *(f"arranged {piece}" for piece in report.arranged),
        *(f"kept {piece}: {reason}" for piece, reason in report.kept.items()),
        *(f"left for the next time, in use: {piece}" for piece in report.busy),
    ]
    return lines or ["Nothing to do."]
