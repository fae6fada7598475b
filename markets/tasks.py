"""What Celery runs."""

from datetime import UTC, datetime

from celery import shared_task
from django.conf import settings
from django.core.management import call_command

from markets.recording import recorder, reference
from markets.storage import retention


@shared_task
def poll_markets() -> None:
    """The recorder's tick. Whether it is this process's turn, the database decides."""
    recorder.record_tick(recorder.kalshi_client(), interval=settings.POLL_INTERVAL)


@shared_task
def refresh_reference() -> None:
    reference.refresh(recorder.kalshi_client())


@shared_task
def maintain() -> None:
    """The days of partitioned tables: made ahead, and dropped when retention lets them go."""
    retention.maintain(now=datetime.now(UTC))


@shared_task
def archive_days() -> None:
    """Retention lets go only of what the archive has."""
    if settings.RETENTION_DAYS:
        call_command("archive")
