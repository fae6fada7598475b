"""The broker: sending tasks by their names, for processes that run none themselves.

The site and beat use `sender`, which loads neither tasks nor Celery's worker.
"""

import os
from collections.abc import Callable
from typing import Any

from celery import Celery
from django.conf import settings
from kombu import Connection

from kalshi_insights.processes.pulse import LOOP, LOOP_SECONDS, Pulse


def give_sign() -> None:
    """Say that the loop of this worker or beat goes round."""
    Pulse(settings.PULSE_PATH, LOOP).beat(within=LOOP_SECONDS)


class PatientConnection(Connection):
    """A connection that retries five times a second, instead of after 2, 4, 6, 8 … seconds.

    The recorder has to continue within two ticks of the broker's return, and Celery has no setting
    for the interval. A process that waits for its broker is alive, and says so.
    """

    def ensure_connection(
        self, errback: Callable[..., Any] | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        def report(error: Exception, interval: float) -> None:
            give_sign()
            if errback:
                errback(error, interval)

        intervals = {"interval_start": 0.2, "interval_step": 0, "interval_max": 0.2}
        return super().ensure_connection(report, *args, **{**kwargs, **intervals})


def celery_app(*, fixups: list[str] | None, current: bool) -> Celery:
    """A Celery application by our settings; `fixups` are Celery's own where they are None."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kalshi_insights.settings")
    app = Celery("kalshi_insights", fixups=fixups, set_as_current=current)
    app.config_from_object("django.conf:settings", namespace="CELERY")
    app.amqp.Connection = PatientConnection
    return app


# Celery's fix-up for Django loads the worker. Tasks that this process has belong to the
# application of `kalshi_insights.celery`.
sender = celery_app(fixups=[], current=False)
