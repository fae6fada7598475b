"""The record in the admin: all of it, found by ticker, looked at and never edited."""

from datetime import UTC, datetime, timedelta

import pytest
from django.apps import apps
from django.contrib import admin
from django.core.checks import Tags, run_checks
from django.urls import reverse
from model_bakery import baker

from kalshi_insights.admin import CappedPaginator, ReadOnlyAdmin
from markets.models import Market, MarketSnapshot, OrderBookSnapshot, Watch
from markets.tests.factories import a_market, a_snapshot, observe

# Django's admin takes no model whose key has several columns.
MODELS = [
    model
    for model in apps.get_app_config("markets").get_models()
    if not model._meta.is_composite_pk
]
NOW = datetime.now(UTC)

pytestmark = pytest.mark.django_db


def address(model, view="changelist", *keys):
    return reverse(f"admin:markets_{model._meta.model_name}_{view}", args=keys)


def listed(client, model, words=""):
    page = client.get(address(model), {"q": words})
    assert page.status_code == 200
    return list(page.context["cl"].result_list)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_model_is_there_listed_and_searched(admin_client, model):
    for words in ("", "KXRAIN", "2026"):
        assert listed(admin_client, model, words) == []
    assert admin.site.is_registered(model)
    assert admin.site.get_model_admin(model).search_fields


def test_its_pages_pass_the_checks_of_django():
    # Its pages are looked for by the URLs, and `manage.py check` may come to the admin before them.
    assert address(Market)
    assert admin.site.is_registered(Market)
    assert run_checks(tags=[Tags.admin]) == []


@pytest.mark.parametrize("model", set(MODELS) - {Watch}, ids=lambda model: model.__name__)
def test_whatever_is_recorded_is_not_edited(admin_client, model):
    assert isinstance(admin.site.get_model_admin(model), ReadOnlyAdmin)
    assert admin_client.get(address(model, "add")).status_code == 403


def test_a_snapshot_is_looked_at_and_not_changed(admin_client):
    snapshot = a_snapshot(a_market(), NOW)
    snapshot.save()
    change = address(type(snapshot), "change", snapshot.pk)
    assert admin_client.get(change).status_code == 200
    assert admin_client.post(change, {}).status_code == 403
    assert admin_client.post(address(type(snapshot), "delete", snapshot.pk)).status_code == 403


class TestRowsOfWhichThereAreMillions:
    @pytest.fixture
    def market(self):
        market = a_market("KXRAIN-1")
        observe(market, NOW - timedelta(hours=2), "0.40", "0.45")
        observe(market, NOW, "0.41", "0.45")
        observe(a_market("KXRAIN-2"), NOW, "0.50", "0.55")
        return market

    def test_without_a_search_the_newest_are_listed(self, admin_client, market):
        rows = listed(admin_client, MarketSnapshot)
        assert sorted(each.market.ticker for each in rows) == ["KXRAIN-1", "KXRAIN-2"]

    def test_the_newest_are_listed_also_long_after_the_recorder_has_stopped(
        self, admin_client, market
    ):
        Market.objects.update(quoted_at=NOW - timedelta(hours=2))
        assert len(listed(admin_client, MarketSnapshot)) == 3

    def test_by_its_ticker_all_of_a_market_is_found(self, admin_client, market):
        rows = listed(admin_client, MarketSnapshot, " kxrain-1 ")
        assert [each.market for each in rows] == [market, market]
        assert rows[0].timestamp > rows[1].timestamp
        assert listed(admin_client, MarketSnapshot, "KXRAIN") == []

    def test_order_books_are_found_by_ticker(self, admin_client, market):
        baker.make(OrderBookSnapshot, market=market, timestamp=NOW)
        for words, count in (("", 1), ("KXRAIN-1", 1), ("KXRAIN-2", 0)):
            assert len(listed(admin_client, OrderBookSnapshot, words)) == count

    def test_they_are_counted_as_far_as_anybody_pages(self, market, monkeypatch):
        monkeypatch.setattr(CappedPaginator, "MAX_COUNT", 1)
        assert CappedPaginator(Market.objects.all(), 100).count == 1


@pytest.mark.parametrize("query", ["status=%00", "status__exact=%00", "q=%00", "%00=1", "p=%00"])
def test_a_nul_in_a_query_is_refused(admin_client, query):
    for noun in ("market", "event", "series", "marketsnapshot", "drift"):
        assert admin_client.get(f"/admin/markets/{noun}/?{query}").status_code == 400
