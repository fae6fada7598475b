import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from django.core.management import CommandError, call_command

from markets.kalshi.client import Page
from markets.management.commands.recordpast import (
    SPACING,
    ListedDefinitions,
    instants_to_list,
    record_listing,
)
from markets.models import Market, MarketRevision, MarketSnapshot, Source
from markets.simulator.server import running_exchange
from markets.simulator.universe import SimulatedUniverse
from markets.tests.fake_exchange import Exchange


@pytest.mark.django_db(transaction=True)
def test_the_past_is_recorded_once(settings):
    settings.SIMULATED = True
    with running_exchange(SimulatedUniverse(seed=1, markets=60), pauses=False) as exchange:
        settings.KALSHI_API_URL = exchange.url
        call_command("recordpast", hours=1)
        recorded = MarketSnapshot.objects.count()
        call_command("recordpast", hours=1)
    assert recorded == MarketSnapshot.objects.count() > 60
    assert {snapshot.source for snapshot in MarketSnapshot.objects.all()} == {Source.BACKFILL}
    oldest = MarketSnapshot.objects.oldest_first()[0].timestamp
    assert datetime.now(UTC) - oldest > timedelta(hours=1) - SPACING
    assert Market.objects.filter(quoted_at=None).count() == 0


@pytest.mark.django_db(transaction=True)
def test_what_was_known_then_is_recorded_with_it(settings):
    settings.SIMULATED = True
    with running_exchange(SimulatedUniverse(seed=1, markets=120), pauses=False) as exchange:
        settings.KALSHI_API_URL = exchange.url
        call_command("recordpast", hours=3)
    revisions = MarketRevision.objects.order_by("known_at")
    for snapshot in MarketSnapshot.objects.oldest_first()[:100]:
        known = revisions.filter(market=snapshot.market, known_at__lte=snapshot.timestamp).last()
        assert known
        assert known.close_time
        assert known.close_time > snapshot.timestamp
        assert known.result == ""
    settled = revisions.filter(status="finalized").exclude(settlement_ts=None)
    assert {each.known_at == each.settlement_ts for each in settled} == {True}


def test_only_the_simulated_exchange_is_asked_for_its_past(settings):
    settings.SIMULATED = False
    with pytest.raises(CommandError, match="simulated"):
        call_command("recordpast")


def listing(exchange: Exchange, at: datetime) -> list[Page]:
    events = [msgspec.Raw(json.dumps(exchange.event_json("KXA-1")))]
    return [Page(events, cursor="", received_at=at)]


@pytest.fixture
def exchange():
    exchange = Exchange()
    exchange.list("KXA-1-X", "KXA-1-Y")
    return exchange


@pytest.mark.django_db
def test_an_instant_stays_open_for_a_market_that_was_refused(exchange):
    now = datetime.now(UTC).replace(microsecond=0)
    instants = instants_to_list(now, 1)
    listed = ListedDefinitions()
    record_listing(listing(exchange, instants[0]), listed, is_last=False)
    exchange.markets["KXA-1-Y"]["yes_bid_dollars"] = 42
    for at in instants[1:]:
        record_listing(listing(exchange, at), listed, is_last=False)
    assert len(listed.refused) == len(instants) - 1
    assert listed.refused[0].startswith(f"KXA-1-Y {instants[1]:%Y-%m-%d %H:%M:%S}: Expected `str`")
    assert instants_to_list(now, 1) == instants[1:]

    exchange.markets["KXA-1-Y"]["yes_bid_dollars"] = "0.4200"
    for at in instants[1:]:
        assert record_listing(listing(exchange, at), listed, is_last=False) == 1
    assert instants_to_list(now, 1) == []


@pytest.mark.django_db
def test_a_run_that_was_cut_off_loses_no_definition(exchange):
    now = datetime.now(UTC).replace(microsecond=0)
    instants = instants_to_list(now, 1)
    record_listing(listing(exchange, instants[0]), ListedDefinitions(), is_last=False)
    exchange.list("KXA-1-X", "KXA-1-Y", updated_time="2026-10-01T12:00:00Z")
    again = instants_to_list(now, 1)
    assert again == instants  # the first one is read again, for its definitions
    exchange.list("KXA-1-X", "KXA-1-Y")
    listed = ListedDefinitions()
    record_listing(listing(exchange, again[0]), listed, is_last=False)
    exchange.list("KXA-1-X", "KXA-1-Y", updated_time="2026-10-01T12:00:00Z")
    record_listing(listing(exchange, again[1]), listed, is_last=False)
    assert MarketRevision.objects.filter(known_at=again[0]).count() == 2
    assert MarketSnapshot.objects.filter(timestamp=again[0]).count() == 2
