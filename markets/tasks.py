"""The Celery tasks of `markets`."""

from contextlib import suppress
from datetime import UTC, datetime

import structlog
from celery import shared_task
from django.conf import settings
from django.core.management import call_command

from markets.importing import undo
from markets.kalshi.errors import KalshiError
from markets.recording import recorder, reference
from markets.recording.exchange import kalshi_client
from markets.storage import retention

log = structlog.get_logger(__name__)


# A run that takes longer is ended, whoever watches over it or not.
@shared_task(time_limit=int(recorder.stopped_after(settings.POLL_INTERVAL)))
def poll_markets() -> None:
    """Run one tick of the recorder, unless the database says that its slot is taken."""
    recorder.record_tick(kalshi_client(), interval=settings.POLL_INTERVAL)


@shared_task
def refresh_reference() -> None:
    try:
        reference.refresh(kalshi_client())
    except KalshiError as error:
        log.warning("reference data is not refreshed", error=str(error))


# Clustering a day of a large record takes minutes.
@shared_task(time_limit=3600)
def maintain() -> None:
    """Create partitions ahead of time, drop what has expired, and measure the disk."""
    retention.maintain(now=datetime.now(UTC))


# Removing many millions of rows takes as long as they took to come.
@shared_task(time_limit=3600)
def undo_imports() -> None:
    """Undo the imports of which somebody has asked that, unless a command is at it."""
    with suppress(undo.UndoTaken):
        undo.undo_waiting()


# The first archive of a large record takes hours.
@shared_task(time_limit=12 * 3600)
def archive_days() -> None:
    """Archive closed days, if retention is on: it drops only days that are archived."""
    if settings.RETENTION_DAYS or settings.TRADE_RETENTION_DAYS:
        call_command("archive")
