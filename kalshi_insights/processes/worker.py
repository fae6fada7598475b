"""A Celery worker of one role: `python -m kalshi_insights.processes.worker ROLE`.

Celery's own command line loads an interactive shell, which takes 10 MB of each worker.
"""

import sys
from argparse import ArgumentParser

from celery.utils.nodenames import host_format

from kalshi_insights.celery import app

# The queue of each role. One process records, and backtests have their own, so that neither waits
# for anything else.
QUEUES = {"recorder": "recorder", "worker": "work", "backtester": "backtests"}
# Only the worker that runs backtests loads the engines, at its start.
TASKS = {"backtester": ["backtests.tasks"]}


def main() -> None:
    parser = ArgumentParser(prog="python -m kalshi_insights.processes.worker", description=__doc__)
    parser.add_argument("role", choices=QUEUES)
    role = parser.parse_args().role
    # A message that a busy worker holds would wait for it, while another one is idle.
    app.conf.worker_disable_prefetch = role == "backtester"
    worker = app.Worker(
        hostname=host_format(f"{QUEUES[role]}@%h"),
        queues=[QUEUES[role]],
        include=TASKS.get(role, []),
        concurrency=1,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    sys.exit(worker.exitcode)


if __name__ == "__main__":
    main()
