"""What changes rarely and is read seldom: series, fees, and when the exchange rests."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec
from django.db import transaction

from markets.kalshi import drift, payloads
from markets.kalshi.client import KalshiClient, KalshiError, pages
from markets.kalshi.payloads import EventFeeChangePayload, FeeChangePayload
from markets.kalshi.schedule import closures
from markets.models import Closure, Drift, Event, FeeChange, Series, Sweep, Tier

SERIES_EVERY = timedelta(hours=1)
NEW_SERIES_EVERY = timedelta(minutes=5)
FEES_EVERY = timedelta(hours=1)
HOURS_EVERY = timedelta(hours=1)
DAYS_AHEAD = 14
# Longer than the exchange rests, so that the beginning of a rest is told as long as it lasts.
DAYS_BACK = 7

T = TypeVar("T")


def refresh(client: KalshiClient) -> None:
    """Read anew whatever is due; one tier's failure does not cost the others.

    Raises KalshiError in the end where any of them failed.
    """
    client.deadline = None
    tiers: dict[Tier, Callable[[KalshiClient], int]] = {
        Tier.FEES: refresh_fees,
        Tier.SERIES: refresh_series,
        Tier.HOURS: refresh_hours,
    }
    failures: dict[Tier, KalshiError] = {}
    for tier, read in tiers.items():
        try:
            read(client)
        except KalshiError as error:
            failures[tier] = error
    if failures:
        told = "; ".join(f"{tier}: {error}" for tier, error in failures.items())
        raise KalshiError(told) from next(iter(failures.values()))


def due(tier: Tier, every: timedelta) -> Sweep | None:
    """A pass to be made, where the last one lies too long ago."""
    now = datetime.now(UTC)
    last = Sweep.objects.newest(tier)
    if last and timedelta(0) <= now - last.started_at < every:
        return None
    return Sweep(tier=tier, started_at=now)


def conclude(sweep: Sweep, *, refused: list[str]) -> None:
    sweep.add_page(at=datetime.now(UTC), markets=0, skipped=refused, cursor="")
    sweep.finish(datetime.now(UTC))
    sweep.save()


def readable(
    kind: str, raws: Iterable[msgspec.Raw], read: Callable[[msgspec.Raw], T]
) -> tuple[list[T], list[str], list[drift.Drift]]:
    """What can be read, the names of what cannot, and where either left the contract."""
    found, refused, odd = [], [], []
    for raw in raws:
        try:
            found.append(read(raw))
        except msgspec.MsgspecError as reason:
            refused.append(payloads.ticker_of(raw))
            odd.append(drift.shape_drift(kind, reason, raw=raw))
    return found, refused, odd


def refresh_series(client: KalshiClient) -> int:
    """Read every series anew once an hour, sooner where one is known by name only.

    Returns how many were written; 0 where none was due.
    """
    unread = Series.objects.unread().exists()
    sweep = due(Tier.SERIES, NEW_SERIES_EVERY if unread else SERIES_EVERY)
    if sweep is None:
        return 0
    page = client.series_list()
    found, refused, odd = readable("series", page.items, payloads.series)
    for raw in page.items:
        odd += drift.drift("series", raw)
    with transaction.atomic():
        conclude(sweep, refused=refused)
        Drift.objects.note(odd, at=page.received_at)
        written = Series.objects.refresh(found, at=page.received_at)
        FeeChange.objects.follow_series(at=page.received_at)
        return written


def refresh_fees(client: KalshiClient) -> int:
    """Read the announced and past changes of fees. Returns how many there are."""
    sweep = due(Tier.FEES, FEES_EVERY)
    if sweep is None:
        return 0
    now = datetime.now(UTC)
    of_series, refused, odd = readable(
        "fee change", client.fee_changes().items, payloads.fee_change
    )
    listing = pages(lambda cursor: client.event_fee_changes(cursor=cursor))
    raws = (raw for page in listing for raw in page.items)
    of_events, also_refused, also_odd = readable("fee change", raws, payloads.event_fee_change)
    with transaction.atomic():
        changes = [*_of_series(of_series, now), *_of_events(of_events, now)]
        FeeChange.objects.add(changes)
        Drift.objects.note([*odd, *also_odd], at=now)
        conclude(sweep, refused=[*refused, *also_refused])
    return len(changes)


def _of_series(changes: Iterable[FeeChangePayload], now: datetime) -> Iterator[FeeChange]:
    changes = list(changes)
    ids = Series.objects.ids(change.series_ticker for change in changes)
    for change in changes:
        yield FeeChange(
            series_id=ids[change.series_ticker],
            fee_type=change.fee_type,
            fee_multiplier=change.fee_multiplier,
            effective_at=change.scheduled_ts,
            known_at=min(now, change.scheduled_ts),
            recorded_at=now,
        )


def _of_events(changes: Iterable[EventFeeChangePayload], now: datetime) -> Iterator[FeeChange]:
    changes = list(changes)
    # An event that is not on record yet comes by the universe's walk, its change an hour later.
    ids = Event.objects.ids(change.event_ticker for change in changes)
    for change in changes:
        if change.event_ticker in ids:
            yield FeeChange(
                event_id=ids[change.event_ticker],
                fee_type=change.fee_type or "",
                fee_multiplier=change.fee_multiplier,
                effective_at=change.scheduled_ts,
                known_at=min(now, change.scheduled_ts),
                recorded_at=now,
            )


def refresh_hours(client: KalshiClient) -> int:
    """Put on record when the exchange rests. Returns how often it does, from today on."""
    sweep = due(Tier.HOURS, HOURS_EVERY)
    if sweep is None:
        return 0
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    start = midnight - timedelta(days=DAYS_BACK)
    rests = closures(client.exchange_schedule(), start=start, days=DAYS_BACK + DAYS_AHEAD)
    # Of days past, what was announced at the time is on record.
    ahead = [(begun, ended) for begun, ended in rests if ended > midnight]
    with transaction.atomic():
        Closure.objects.announce(ahead, at=now)
        conclude(sweep, refused=[])
    return len(ahead)
