"""The recorder in one process, without Celery."""

import signal
import threading
import time
from argparse import ArgumentParser
from types import FrameType

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, close_old_connections

from markets.kalshi.errors import KalshiError
from markets.kalshi.reach import with_advice
from markets.models import Poll
from markets.recording.exchange import kalshi_client
from markets.recording.recorder import record_tick
from markets.recording.reference import refresh


class Command(BaseCommand):
    help = "Record the exchange in this process, without Celery; print a line for each tick."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="run a single tick")

    def handle(self, *, once: bool, **options: object) -> None:
        if once:
            poll = record_tick(kalshi_client(), interval=settings.POLL_INTERVAL)
            self.report(poll)
            if poll and poll.error:
                raise CommandError(with_advice(poll.error))
            return
        stopping = threading.Event()

        def stop(number: int, frame: FrameType | None) -> None:
            stopping.set()

        # The running tick is finished, but the next one is not waited for.
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        due = time.monotonic()
        while not stopping.is_set():
            self.tick()
            # Ticks keep to their slots; a slot that was missed is not made up for.
            due = max(due + settings.POLL_INTERVAL, time.monotonic())
            stopping.wait(due - time.monotonic())

    def tick(self) -> None:
        """Run a tick; a fault of the exchange or of the database is printed and not raised."""
        close_old_connections()
        try:
            self.report(record_tick(kalshi_client(), interval=settings.POLL_INTERVAL))
            refresh(kalshi_client())
        except (KalshiError, DatabaseError) as fault:
            self.stderr.write(f"{type(fault).__name__}: {with_advice(str(fault))}")

    def report(self, poll: Poll | None) -> None:
        if poll is None:
            self.stdout.write("Nothing was recorded: another recorder is running, or has just run.")
            return
        self.stdout.write(
            f"{poll.started_at:%H:%M:%S}  {poll.markets:,} markets on {poll.pages} pages,"
            f" {poll.snapshots:,} snapshots, {poll.rejected} rejected, {poll.seconds:.2f} s"
            f"  {with_advice(poll.error)} {poll.warning}".rstrip()
        )
