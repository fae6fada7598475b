"""Rate limits and cross-origin requests of the API."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
import structlog
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from redis import Redis

from accounts.tests.factories import a_token
from kalshi_insights.embedded.servers import free_port
from kalshi_insights.rest.throttling import RateLimiter, client_network

pytestmark = pytest.mark.django_db
MARKETS = "/api/v1/markets/"


@pytest.fixture
def limited(settings, client):
    """Allow bursts of two anonymous requests per address and four per user, with slow refills."""
    # The first request of a process may take longer than a refill.
    client.get(MARKETS)
    server = Redis.from_url(settings.REDIS_URL)
    forget_requests(server)
    settings.API_RATE_ANONYMOUS, settings.API_RATE_TOKEN = 0.2, 0.4
    yield server
    forget_requests(server)
    server.close()


def forget_requests(server):
    for key in server.keys("api:rate:*"):
        server.delete(key)


@pytest.fixture
def token(db):
    return {"Authorization": f"Token {a_token(User.objects.create_user('reader'))}"}


def statuses(client, count, **extra) -> list[int]:
    return [client.get(MARKETS, **extra).status_code for _ in range(count)]


def test_too_many_requests_are_refused_until_it_says_to_come_back(client, limited):
    assert statuses(client, 2) == [200, 200]
    refused = client.get(MARKETS)
    assert (refused.status_code, refused.json()["code"]) == (429, "throttled")
    assert 0 < int(refused["Retry-After"]) <= 5


def test_refused_requests_do_not_put_off_the_next(client, limited):
    statuses(client, 20)
    assert int(client.get(MARKETS)["Retry-After"]) <= 5


def test_addresses_do_not_share(client, limited):
    assert statuses(client, 3)[-1] == 429
    assert statuses(client, 1, REMOTE_ADDR="192.0.2.7") == [200]


def test_a_token_allows_more_from_wherever_it_is_sent(client, limited, token):
    assert statuses(client, 3)[-1] == 429
    assert statuses(client, 4, headers=token) == [200] * 4
    assert statuses(client, 1, headers=token, REMOTE_ADDR="192.0.2.7") == [429]


def test_a_wrong_token_is_refused_and_guessing_is_slowed_down(client, limited):
    wrong = {"Authorization": "Token " + "0" * 68}
    refused = client.get(MARKETS, headers=wrong)
    assert (refused.status_code, refused.json()["code"]) == (401, "authentication_failed")
    assert statuses(client, 2, headers=wrong) == [401, 429]


def test_health_is_not_limited(client, limited):
    assert {client.get("/api/v1/health/").status_code for _ in range(9)} == {200}


def test_without_a_rate_nothing_is_counted(client, limited, settings):
    settings.API_RATE_ANONYMOUS = None
    assert set(statuses(client, 9)) == {200}


def test_all_processes_count_together(limited, settings):
    limiters = [RateLimiter(settings.REDIS_URL) for _ in range(4)]
    client = str(uuid4())
    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(lambda n: limiters[n % 4].take(client, 1), range(60)))
    assert 10 <= waits.count(0) <= 12


@pytest.mark.parametrize(
    ("proxies", "forwarded", "counted"),
    [
        (0, "203.0.113.1", "192.0.2.1"),
        (1, "203.0.113.1", "203.0.113.1"),
        (1, "10.9.9.9, 203.0.113.1", "203.0.113.1"),
        (2, "10.9.9.9, 203.0.113.1, 198.51.100.1", "203.0.113.1"),
        (1, None, "192.0.2.1"),
    ],
)
def test_forwarded_addresses_are_believed_as_far_as_our_own_proxies_wrote_them(
    limited, settings, proxies, forwarded, counted
):
    settings.TRUSTED_PROXIES = proxies
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    assert statuses(Client(), 1, headers=headers, REMOTE_ADDR="192.0.2.1") == [200]
    assert limited.keys("api:rate:*") == [f"api:rate:address:{counted}".encode()]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
        ("", ""),
        ("x" * 500, "x" * 64),
    ],
)
def test_the_addresses_of_one_network_share_a_limit(address, expected):
    assert client_network(address) == expected


def test_without_redis_everybody_passes_and_the_log_says_so_once(client, limited, settings):
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    with structlog.testing.capture_logs() as logs:
        assert set(statuses(client, 9)) == {200}
    assert [line["event"] for line in logs].count("api_unlimited") == 1


@pytest.fixture
def shared(settings):
    settings.CORS_ALLOWED_ORIGINS = ["https://charts.example"]


ORIGIN = {"Origin": "https://charts.example"}
PREFLIGHT = {"Access-Control-Request-Method": "GET"}


def test_another_origin_may_not_read_by_default(client, db):
    response = client.get(MARKETS, headers=ORIGIN)
    assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("path", [MARKETS, "/api/v1/nothing/"])
def test_an_origin_that_is_named_may_read_answers_and_refusals(client, db, shared, path):
    response = client.get(path, headers=ORIGIN)
    assert response["Access-Control-Allow-Origin"] == "https://charts.example"
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert "retry-after" in response["Access-Control-Expose-Headers"]
    assert "origin" in response["Vary"].lower()


def test_a_named_origin_may_send_a_token_but_not_write(client, db, shared):
    response = client.options(MARKETS, headers=ORIGIN | PREFLIGHT)
    assert "authorization" in response["Access-Control-Allow-Headers"]
    assert response["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("origin", ["https://evil.example", "http://charts.example", "null"])
def test_no_other_origin_may(client, db, shared, origin):
    for response in (
        client.get(MARKETS, headers={"Origin": origin}),
        client.options(MARKETS, headers={"Origin": origin} | PREFLIGHT),
    ):
        assert "Access-Control-Allow-Origin" not in response.headers


def test_reading_without_a_token_asks_for_no_user(client, django_assert_num_queries):
    with django_assert_num_queries(0, connection=connection):
        client.get("/api/v1/")
