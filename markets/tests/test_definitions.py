"""Definitions of very many markets, read a few at a time."""

from datetime import UTC, datetime

import pytest

from markets.models import Market, MarketRevision, definitions
from markets.tests.factories import a_market

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def markets(monkeypatch):
    monkeypatch.setattr(definitions, "IDS_AT_ONCE", 2)
    return [a_market(f"KXA-1-{n}") for n in range(5)]


def test_they_come_in_the_order_of_ids_however_many_a_statement_reads(
    markets, django_assert_num_queries
):
    ids = [market.pk for market in markets]
    with django_assert_num_queries(3):
        found = Market.objects.defined(reversed(ids))
    assert [each.id for each in found] == ids


def test_markets_share_the_words_that_they_have_in_common(markets):
    assert (
        len({id(each.event_title) for each in Market.objects.defined(m.pk for m in markets)}) == 1
    )


def test_revisions_of_all_of_them_are_found(markets):
    for market in markets:
        market.revisions.create(known_at=NOON, recorded_at=NOON, status="active")
    found = MarketRevision.objects.histories([m.pk for m in markets], recorded_by=NOON)
    assert found.keys() == {m.pk for m in markets}
    assert len({id(each.status) for own in found.values() for each in own}) == 1
