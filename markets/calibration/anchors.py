"""The lead times before a market's anchor at which its price is compared with its outcome."""

from datetime import timedelta

LEAD_TIMES: tuple[timedelta, ...] = (
    timedelta(days=7),
    timedelta(hours=24),
    timedelta(hours=6),
    timedelta(hours=1),
    timedelta(minutes=10),
)
