"""Reference data, which changes rarely: series, fees and the closures of the exchange."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec
from django.db import transaction

from markets.kalshi import payloads
from markets.kalshi.client import KalshiClient
from markets.kalshi.drift import DriftNote, find_drift, shape_drift
from markets.kalshi.errors import KalshiError
from markets.kalshi.payloads import EventFeeChangePayload, FeeChangePayload
from markets.kalshi.schedule import closures
from markets.models import Closure, Drift, Event, FeeChange, Series, Sweep, Tier
from markets.recording.events import fetch_missing_series
from markets.recording.isolation import CONTAGIOUS, pages_in_parts

SERIES_EVERY = timedelta(hours=1)
# Series of which only the ticker is known are fetched sooner.
NEW_SERIES_EVERY = timedelta(minutes=5)
MOST_NEW_SERIES = 50
FEES_EVERY = timedelta(hours=1)
FEE_CHANGES_PER_PAGE = 1000
CLOSURES_EVERY = timedelta(hours=1)
DAYS_AHEAD = 14
# Longer than any closure, so that one that is under way is seen from its beginning.
DAYS_BACK = 7

T = TypeVar("T")


def refresh(client: KalshiClient) -> None:
    """Fetch all reference data that is due; a failure in one tier does not affect the others.

    Raises `KalshiError` at the end if any tier failed.
    """
    client.deadline = None
    tiers: dict[Tier, Callable[[KalshiClient], None]] = {
        Tier.FEES: refresh_fees,
        Tier.SERIES: refresh_series,
        Tier.HOURS: refresh_closures,
    }
    failures: dict[Tier, KalshiError] = {}
    for tier, refresh_tier in tiers.items():
        try:
            refresh_tier(client)
        except KalshiError as error:
            failures[tier] = error
    if failures:
        message = "; ".join(f"{tier}: {error}" for tier, error in failures.items())
        raise KalshiError(message) from next(iter(failures.values()))


def due_sweep(tier: Tier, every: timedelta) -> Sweep | None:
    """Return a new sweep, unsaved, if the last one began longer ago than `every`."""
    now = datetime.now(UTC)
    last = Sweep.objects.newest(tier)
    if last and timedelta(0) <= now - last.started_at < every:
        return None
    return Sweep(tier=tier, started_at=now)


def save_finished(sweep: Sweep, *, rejected: list[str]) -> None:
    sweep.add_page(at=datetime.now(UTC), markets=0, skipped=rejected, cursor="")
    sweep.finish(datetime.now(UTC))
    sweep.save()


def parse_items(
    kind: str, raws: Iterable[msgspec.Raw], parse: Callable[[msgspec.Raw], T]
) -> tuple[list[T], list[str], list[DriftNote]]:
    """Return the parsed items, the tickers of the rejected ones, and their drift."""
    parsed, rejected, notes = [], [], []
    for raw in raws:
        try:
            parsed.append(parse(raw))
        except msgspec.MsgspecError as reason:
            rejected.append(payloads.ticker_of(raw))
            notes.append(shape_drift(kind, reason, raw=raw))
    return parsed, rejected, notes


def refresh_series(client: KalshiClient) -> None:
    """Fetch and write all series, if they are due."""
    has_new = Series.objects.unread().exists()
    sweep = due_sweep(Tier.SERIES, NEW_SERIES_EVERY if has_new else SERIES_EVERY)
    if sweep is None:
        return
    try:
        page = client.series_list()
    except CONTAGIOUS:
        # One of them may fail the list of all. New ones are fetched one by one until it is back.
        new = Series.objects.unread().values_list("ticker", flat=True)[:MOST_NEW_SERIES]
        fetch_missing_series(client, set(new))
        raise
    parsed, rejected, notes = parse_items("series", page.items, payloads.series)
    for raw in page.items:
        notes += find_drift("series", raw)
    with transaction.atomic():
        save_finished(sweep, rejected=rejected)
        Drift.objects.note(notes, at=page.received_at)
        Series.objects.refresh(parsed, at=page.received_at)
        FeeChange.objects.follow_series(at=page.received_at)


def refresh_fees(client: KalshiClient) -> None:
    """Fetch and write past and announced fee changes, if they are due."""
    sweep = due_sweep(Tier.FEES, FEES_EVERY)
    if sweep is None:
        return
    now = datetime.now(UTC)
    series_changes, rejected, notes = parse_items(
        "fee change", client.fee_changes().items, payloads.fee_change
    )
    listing = pages_in_parts(client.event_fee_changes, size=FEE_CHANGES_PER_PAGE)
    raws = (raw for page in listing for raw in page.items)
    event_changes, more_rejected, more_notes = parse_items(
        "fee change", raws, payloads.event_fee_change
    )
    with transaction.atomic():
        changes = [
            *_series_fee_changes(series_changes, now),
            *_event_fee_changes(event_changes, now),
        ]
        FeeChange.objects.add(changes)
        Drift.objects.note([*notes, *more_notes], at=now)
        save_finished(sweep, rejected=[*rejected, *more_rejected])


def _series_fee_changes(changes: Sequence[FeeChangePayload], now: datetime) -> Iterator[FeeChange]:
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


def _event_fee_changes(
    changes: Sequence[EventFeeChangePayload], now: datetime
) -> Iterator[FeeChange]:
    # An event that is not recorded yet comes with the universe; its change follows an hour later.
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


def refresh_closures(client: KalshiClient) -> None:
    """Fetch the exchange's schedule and write its closures, if they are due."""
    sweep = due_sweep(Tier.HOURS, CLOSURES_EVERY)
    if sweep is None:
        return
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    start = midnight - timedelta(days=DAYS_BACK)
    closed = closures(client.exchange_schedule(), start=start, days=DAYS_BACK + DAYS_AHEAD)
    # For past days, what was announced at the time is already recorded and stays.
    upcoming = [(start, end) for start, end in closed if end > midnight]
    with transaction.atomic():
        Closure.objects.announce(upcoming, at=now)
        save_finished(sweep, rejected=[])
