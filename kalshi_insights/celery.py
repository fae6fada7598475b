"""The Celery application, for `celery -A kalshi_insights worker` and `… beat`."""

import os
from collections.abc import Callable
from typing import Any

from celery import Celery, bootsteps
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


class LoopPulse(bootsteps.StartStopStep):
    """Lets the loop of a worker give a sign of life every second."""

    requires = ("celery.worker.components:Timer",)

    def start(self, parent: Any) -> None:
        give_sign()
        parent.timer.call_repeatedly(1.0, give_sign)


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kalshi_insights.settings")
app = Celery("kalshi_insights")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.amqp.Connection = PatientConnection
app.steps["worker"].add(LoopPulse)
# Only workers that run backtests load the engines, by `--include backtests.tasks`.
app.autodiscover_tasks(["accounts", "markets"])
