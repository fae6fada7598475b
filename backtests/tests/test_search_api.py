"""The API of searches."""

from datetime import UTC, datetime

import pytest
from rest_framework.test import APIClient

from backtests.models import Search, SearchPoint
from backtests.searches import universes
from backtests.tests.factories import a_user
from backtests.tests.search_builders import SERIES, WINDOW, a_search, record_days, run_all

pytestmark = pytest.mark.django_db
URL = "/api/v1/searches/"


@pytest.fixture(autouse=True)
def _days():
    record_days()
    yield
    universes.forget()


def wanted(**values):
    return {
        "strategy": "fade-longshots",
        "vary": {"contracts": [1, 5], "edge": "0.0:0.02:0.01"},
        "series": [SERIES],
        "start": WINDOW[0].isoformat(),
        "end": WINDOW[1].isoformat(),
        "execution": {"across_gaps": "wait"},
        **values,
    }


def post(path="", body=None, *, user=None):
    client = APIClient()
    client.force_authenticate(user or a_user())
    return client.post(f"{URL}{path}", body, format="json")


def test_a_search_is_requested_and_shows_its_progress_and_its_points(client):
    reply = post(body=wanted(folds=1))
    assert reply.status_code == 202
    address = reply["Location"]
    assert address.endswith(f"{URL}{reply.json()['id']}/")
    assert client.get(address).json()["progress"] == 0
    run_all(Search.objects.get())
    found = client.get(address).json()
    assert (found["status"], found["progress"], found["points"]) == ("done", 1.0, 6)
    assert found["varied"] == {"contracts": [1, 5], "edge": [0.0, 0.01, 0.02]}
    assert found["figures"]["walk_forward"]["folds"][0]["rank"] >= 1
    points = client.get(f"{address}points/?ordering=-pnl&limit=2").json()
    assert points["count"] == 6
    best = points["results"][0]
    assert best["number"] == found["figures"]["best"]
    assert float(best["pnl"]) >= float(points["results"][1]["pnl"])
    assert best["sharpe"] is None  # there are four events
    beside = client.get(f"{address}overfitting/").json()
    assert beside["trials"] == 6
    assert "too few to annualise" in beside["withheld"]


def test_the_list_has_searches_without_their_details(client):
    run_all(a_search())
    a_search(strategy="always-no")
    listed = client.get(URL).json()
    assert [each["strategy"] for each in listed["results"]] == ["always-no", "fade-longshots"]
    assert "figures" not in listed["results"][0]
    assert client.get(f"{URL}?status=done").json()["count"] == 1
    assert client.get(f"{URL}?strategy=momentum").json()["count"] == 0


def test_the_list_takes_few_queries(client, django_assert_max_num_queries):
    for _ in range(3):
        a_search()
    with django_assert_max_num_queries(3):
        client.get(URL)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"vary": {}}, "vary"),
        ({"vary": {"contracts": 5}}, "vary"),
        ({"vary": {"odd": [1]}}, "vary.odd"),
        ({"vary": {"contracts": [0]}}, "vary.contracts"),
        ({"vary": {"edge": "1:0:1"}}, "vary.edge"),
        ({"params": {"contracts": 4}}, "vary.contracts"),
        ({"runs": 0}, "runs"),
        ({"folds": 99}, "folds"),
        ({"embargo_hours": -1.0}, "embargo_hours"),
        ({"seed": "1"}, "seed"),
        ({"check_lookahead": True}, "check_lookahead"),
        ({"end": "2026-09-01T00:00:00Z"}, "end"),
        ({"execution": {"latency_seconds": -1}}, "execution.latency_seconds"),
        ({"series": ["KXNONE"]}, "series"),
    ],
)
def test_bad_input_is_named(values, field):
    reply = post(body=wanted(**values))
    assert reply.status_code == 400, reply.content
    assert list(reply.json()["details"]) == [field]
    assert not Search.objects.exists()


def test_only_its_owner_and_staff_cancel_and_resume_a_search():
    ada = a_user()
    search = a_search(user=ada)
    path = f"{search.pk}/"
    other = a_user("eve")
    assert post(f"{path}cancel/", user=other).status_code == 403
    assert post(f"{path}resume/", user=ada).status_code == 409
    cancelled = post(f"{path}cancel/", user=ada)
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    assert post(f"{path}cancel/", user=ada).status_code == 409
    assert post(f"{path}resume/", user=other).status_code == 403
    assert post(f"{path}resume/", user=ada).json()["status"] == "queued"


def test_a_user_without_the_right_requests_nothing():
    assert post(body=wanted(), user=a_user(may_run=False)).status_code == 403
    assert APIClient().post(URL, wanted(), format="json").status_code == 401


def test_more_unfinished_searches_than_so_many_are_refused():
    user = a_user()
    for _ in range(2):
        assert post(body=wanted(), user=user).status_code == 202
    assert post(body=wanted(), user=user).status_code == 429


def test_what_is_not_there_is_not_found(client):
    for path in ("7/", "7/points/", "7/overfitting/", f"{a_search().pk}/overfitting/"):
        assert client.get(f"{URL}{path}").status_code == 404


def test_a_point_that_could_not_run_says_why(client):
    search = run_all(a_search())
    SearchPoint.objects.filter(search=search, number=1).update(pnl=None, error="It is odd.")
    points = client.get(f"{URL}{search.pk}/points/?ordering=pnl").json()["results"]
    assert (points[-1]["error"], points[-1]["pnl"]) == ("It is odd.", None)


def test_a_cancelled_search_has_an_end(client):
    search = a_search()
    Search.objects.cancel(search.pk, now=datetime.now(UTC))
    assert client.get(f"{URL}{search.pk}/").json()["finished_at"]
