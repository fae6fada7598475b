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
    """Create daily partitions ahead of time and drop expired ones."""
    retention.maintain(now=datetime.now(UTC))


@shared_task
def archive_days() -> None:
    """Archive closed days where retention is on, which drops archived days only."""
    if settings.RETENTION_DAYS:
        call_command("archive")
