"""The Celery application: `celery -A kalshi_insights worker -Q recorder -c 1`, `… beat`."""

import os
from typing import Any

from celery import Celery
from kombu import Connection


class PatientConnection(Connection):
    """Looks for a broker that has gone five times a second, not after 2, 4, 6, 8 … seconds.

    The recorder is to go on within two ticks of its return; there is no setting for this.
    """

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        often = {"interval_start": 0.2, "interval_step": 0, "interval_max": 0.2}
        return super().ensure_connection(*args, **{**kwargs, **often})


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kalshi_insights.settings")
app = Celery("kalshi_insights")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.amqp.Connection = PatientConnection
# Only who runs backtests loads their engines: `--include backtests.tasks`.
app.autodiscover_tasks(["markets"])
