"""The Celery application, for `celery -A kalshi_insights worker` and `… beat`."""

import os
from typing import Any

from celery import Celery
from kombu import Connection


class PatientConnection(Connection):
    """A connection that retries five times a second, instead of after 2, 4, 6, 8 … seconds.

    The recorder has to continue within two ticks of the broker's return, and Celery has no setting
    for the interval.
    """

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        intervals = {"interval_start": 0.2, "interval_step": 0, "interval_max": 0.2}
        return super().ensure_connection(*args, **{**kwargs, **intervals})


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kalshi_insights.settings")
app = Celery("kalshi_insights")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.amqp.Connection = PatientConnection
# Only workers that run backtests load the engines, by `--include backtests.tasks`.
app.autodiscover_tasks(["markets"])
