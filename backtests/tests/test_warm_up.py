"""A worker compiles the kernel before it takes a run."""

from typing import Any, cast

from celery import signals

from backtests import tasks
from backtests.engine import kernel


def test_a_worker_that_starts_has_the_kernel_compiled_before_its_first_run():
    receivers = [receiver() for _, receiver in signals.worker_init.receivers]
    assert tasks.prepare_worker in receivers
    signals.worker_init.send(sender=None)
    assert cast(Any, kernel.trade).signatures
