"""Rate limits of the pages: apart from the API's, and apart from what open pages fetch."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from redis import Redis

from markets.tests.factories import a_market

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:No directory at"),
]
REFRESHES = [
    ("/markets/", "rows"),
    ("/markets/KXA-1/", "quote"),
    ("/recorder/", "recording"),
    ("/recorder/", "runs"),
    ("/markets/KXA-1/chart.json", ""),
]


@pytest.fixture(autouse=True)
def limited(settings):
    """Allow bursts of two pages, three for an account, and five refreshes, with slow refills."""
    a_market("KXA-1")
    settings.PAGE_RATE_ANONYMOUS, settings.PAGE_RATE_ACCOUNT = 0.2, 0.3
    settings.PAGE_RATE_REFRESHES = 0.5
    # A first page may take so long on a busy machine that the bucket is full again.
    Client().get("/markets/", REMOTE_ADDR="192.0.2.99")
    yield
    server = Redis.from_url(settings.REDIS_URL)
    for key in server.keys("*:rate:*"):
        server.delete(key)
    server.close()


def fragment(name: str) -> dict[str, str]:
    return {"HX-Request": "true", "HX-Target": name} if name else {}


def statuses(client, count: int, path: str = "/markets/", **given) -> list[int]:
    return [client.get(path, **given).status_code for _ in range(count)]


def test_too_many_pages_are_refused_until_it_says_to_come_back(client):
    assert statuses(client, 2) == [200, 200]
    refused = client.get("/markets/")
    assert refused.status_code == 429
    seconds = int(refused["Retry-After"])
    assert 0 < seconds <= 5
    assert f"Try again in {seconds} second" in refused.content.decode()
    assert statuses(client, 1, REMOTE_ADDR="192.0.2.7") == [200]


def test_an_account_has_a_bucket_of_its_own_wherever_it_comes_from(client):
    assert statuses(client, 3)[-1] == 429
    client.force_login(User.objects.create_user("ada"))
    assert statuses(client, 3) == [200] * 3
    assert statuses(client, 1, REMOTE_ADDR="192.0.2.7") == [429]


def test_pages_and_api_do_not_share(client, settings):
    settings.API_RATE_ANONYMOUS = 0.1
    assert statuses(client, 2) == [200, 200]
    assert statuses(client, 2, "/api/v1/markets/") == [200, 429]
    assert statuses(client, 5, "/health") == [200] * 5


@pytest.mark.parametrize(("path", "name"), REFRESHES)
def test_what_open_pages_fetch_takes_nothing_from_the_pages(client, path, name):
    assert set(statuses(client, 5, path, headers=fragment(name))) == {200}
    assert statuses(client, 1, path, headers=fragment(name)) == [429]
    assert statuses(client, 2) == [200, 200]


def test_a_search_as_typed_counts_as_a_page(client):
    query = {"q": "rain"}
    response = [
        client.get("/markets/", query, headers=fragment("results")).status_code for _ in range(3)
    ]
    assert response == [200, 200, 429]


def test_a_form_that_is_sent_is_no_refresh(client):
    sent = [client.post("/backtests/new/", headers=fragment("rows")).status_code for _ in range(3)]
    assert sent[-1] == 429


def test_without_a_rate_nothing_is_counted(client, settings):
    settings.PAGE_RATE_ANONYMOUS = settings.PAGE_RATE_REFRESHES = None
    assert set(statuses(client, 9)) == {200}
    assert set(statuses(client, 30, headers=fragment("rows"))) == {200}
