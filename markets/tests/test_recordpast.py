from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command

from markets.management.commands.recordpast import SPACING
from markets.models import Market, MarketRevision, MarketSnapshot, Source
from markets.simulator.server import running_exchange
from markets.simulator.universe import SimulatedUniverse


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
