"""The Celery tasks of `accounts`."""

from datetime import UTC, datetime, timedelta

from axes.models import AccessLog
from celery import shared_task
from django.core.management import call_command

# Who signed in, when, from which address and with which browser is kept for so long.
SIGN_INS_KEPT = timedelta(days=90)


@shared_task
def forget_sign_ins() -> None:
    """Delete old entries of the log of sign-ins, and sessions that have ended.

    Failures need no such care: axes deletes them with the first one after their lock.
    """
    AccessLog.objects.filter(attempt_time__lt=datetime.now(UTC) - SIGN_INS_KEPT).delete()
    call_command("clearsessions")
