from datetime import UTC, datetime

from django.core.management.base import BaseCommand

from markets.storage import retention
from markets.storage.retention import MaintenanceReport


class Command(BaseCommand):
    help = (
        "Create the coming days' partitions, move rows out of the default partitions, drop the"
        " days and raw payloads that retention no longer keeps, cluster closed days by market, and"
        " measure the disk. Celery runs this every ten minutes."
    )

    def handle(self, **options: object) -> None:
        for line in describe(retention.maintain(now=datetime.now(UTC))):
            self.stdout.write(line)


def describe(report: MaintenanceReport) -> list[str]:
    lines = [
        *(f"found rows without a partition: {partition}" for partition in report.late),
        *(f"created {partition}" for partition in report.created),
        *(f"dropped {partition}" for partition in report.dropped),
        *([f"dropped {report.dropped_payloads:,} raw payloads"] if report.dropped_payloads else []),
        *(f"clustered {partition}" for partition in report.clustered),
        *([f"compared the trades of {report.compared}"] if report.compared else []),
        *(f"kept {partition}: {reason}" for partition, reason in report.kept.items()),
        *(f"in use, left for the next run: {partition}" for partition in report.busy),
    ]
    return lines or ["Nothing to do."]
