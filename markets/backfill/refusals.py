"""Records that cannot be read: their time stays open until the same request can read them."""

from collections.abc import Sequence
from datetime import timedelta

from markets.backfill.parsing import UnreadableRecord
from markets.intervals import Interval
from markets.models import BackfillSpan


def refused_within(
    time: Interval, refused: Sequence[UnreadableRecord], *, asked: Interval
) -> list[UnreadableRecord]:
    """Return those that may lie in a span's time.

    Inside the time that was asked for, an instant tells; outside of it, it is as good as none.
    """
    known = [
        each if each.at and asked.start <= each.at <= asked.end else each._replace(at=None)
        for each in refused
    ]
    return [each for each in known if each.at is None or time.start < each.at <= time.end]


def refused_span(
    span: BackfillSpan, refused: Sequence[UnreadableRecord], *, time: Interval, step: timedelta
) -> BackfillSpan:
    """Return the unsaved span of a span's refused records.

    It goes from one `step` before the first of them to the last one, and over all of `time`
    where an instant is unknown.
    """
    instants = [each.at for each in refused if each.at is not None]
    start, end = time
    if len(instants) == len(refused):
        start, end = max(min(instants) - step, span.start), max(instants)
    return BackfillSpan(
        market_id=span.market_id,
        kind=span.kind,
        start=start,
        end=end,
        refusal=str(refused[0].reason),
    )
