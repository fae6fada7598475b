"""Readers of calibrations at the same time, and readers without a cache."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from kalshi_insights.processes.session_limits import short_waits
from markets.calibration.reading import ONE_READER
from markets.calibration.report import Calibration, calibrate
from markets.calibration.request import CalibrationRequest
from markets.tests.test_calibration import a_settled_market

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:No directory at"),
]
API, PAGE = "/api/v1/calibration/", "/calibration/"
WAITING = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"


@pytest.fixture(autouse=True)
def nothing_kept():
    cache.clear()


@contextmanager
def another_reader():
    with closing(connection.copy()) as other:
        other.cursor().execute("SELECT pg_advisory_lock(hashtext('reader of calibrations'))")
        yield


@pytest.mark.parametrize("address", [API, f"{API}markets/", PAGE])
def test_while_another_reads_whoever_waits_too_long_is_told_to_come_again(client, address):
    with another_reader(), short_waits(connection, seconds=0.1):
        response = client.get(address)
    assert (response.status_code, response["Retry-After"]) == (503, "10")


# The lock of a reader ends with its transaction, which is that of the test elsewhere.
@pytest.mark.django_db(transaction=True)
def test_what_is_kept_is_told_while_another_reads(client):
    a_settled_market()
    assert client.get(API).status_code == 200
    with another_reader(), short_waits(connection, seconds=0.1):
        assert client.get(API, {"bins": 5}).json()["coverage"]["used"] == 1
        assert client.get(API, {"moment": "6h"}).status_code == 503


def calibrate_elsewhere() -> Calibration:
    try:
        return calibrate(CalibrationRequest())
    finally:
        connection.close()


def wait_for_the_other() -> None:
    for _ in range(1_000):
        with connection.cursor() as cursor:
            cursor.execute(WAITING)
            if cursor.fetchone() == (True,):
                return
        time.sleep(0.01)
    raise AssertionError("nobody waits")


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_reads_and_the_other_takes_what_it_has_read():
    a_settled_market()
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(ONE_READER)
            other = pool.submit(calibrate_elsewhere)
            wait_for_the_other()
            first = calibrate(CalibrationRequest())
        assert other.result(timeout=30) == first


@pytest.fixture
def without_cache(settings):
    cache._cache.get_client().connection_pool.disconnect()  # type: ignore[attr-defined]
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://127.0.0.1:9/0",
        }
    }


def test_without_the_cache_the_page_reads_once(without_cache, client):
    a_settled_market()
    with CaptureQueriesContext(connection) as asked:
        response = client.get(PAGE, {"bin": 1, "by": "series"})
    assert "1 market with a price of 10–20¢" in response.content.decode()
    assert sum("reader of calibrations" in each["sql"] for each in asked) == 1
