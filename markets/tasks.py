"""What Celery runs."""

from celery import shared_task
from django.conf import settings

from markets import recorder


@shared_task
def poll_markets() -> None:
    """The recorder's tick. Whether it is this process's turn, the database decides."""
    recorder.record_tick(recorder.kalshi_client(), interval=settings.POLL_INTERVAL)


@shared_task
def refresh_series() -> None:
    recorder.refresh_series(recorder.kalshi_client())
