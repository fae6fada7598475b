from datetime import UTC, datetime

from django.core.management.base import BaseCommand

from markets.storage import retention
from markets.storage.retention import Report


class Command(BaseCommand):
    help = (
        "Create the coming daily partitions, move rows out of the default partitions, drop expired"
        " days, and cluster closed days by market. The worker does this every ten minutes."
    )

    def handle(self, **options: object) -> None:
        for line in describe(retention.maintain(now=datetime.now(UTC))):
            self.stdout.write(line)


def describe(report: Report) -> list[str]:
    lines = [
        *(f"rows were waiting for {piece}" for piece in report.waiting),
        *(f"made {piece}" for piece in report.made),
        *(f"dropped {piece}" for piece in report.dropped),
        *(f"clustered {piece}" for piece in report.arranged),
        *(f"kept {piece}: {reason}" for piece, reason in report.kept.items()),
        *(f"in use, left for the next run: {piece}" for piece in report.busy),
    ]
    return lines or ["Nothing to do."]
