"""The pages of searches."""

import re

import pytest

from backtests.models import BacktestStatus, Search
from backtests.search_report import MOST_VALUES, Axis, heat_map
from backtests.searches import runner, universes
from backtests.tests.factories import a_user
from backtests.tests.search_builders import a_search, record_days, run_all
from backtests.tests.test_views import page, words

pytestmark = [
    pytest.mark.django_db,
    # WhiteNoise looks for the files that `collectstatic` makes.
    pytest.mark.filterwarnings("ignore:No directory at"),
]
URL = "/backtests/searches/"
WISH = {
    "strategy": "fade-longshots",
    "params.contracts": "1,5,10",
    "params.edge": "0.0:0.02:0.01",
    "series": "SKXRAIN",
    "start": "2026-10-01T00:00",
    "end": "2026-10-15T00:00",
    "cash": "10000",
    "folds": "1",
    "across_gaps": "wait",
}


@pytest.fixture(autouse=True)
def _days():
    record_days()
    yield
    universes.forget()


@pytest.fixture
def user(client):
    user = a_user()
    client.force_login(user)
    return user


def test_without_searches_the_list_says_what_to_do(client):
    assert "There are no searches yet" in page(client, URL)


def test_a_row_tells_what_is_searched_and_how_far_it_is(client):
    search = a_search({"contracts": [1, 5]})
    text = words(page(client, URL))
    assert "fade-longshots KXRAIN-0, KXRAIN-1, KXRAIN-2 and 1 more" in text
    assert f"#{search.pk} · contracts ·" in text
    assert "every 2s" in page(client, URL)
    run_all(search)
    assert "every 2s" not in page(client, URL, "searches")


def test_a_status_that_is_not_there_is_named(client):
    assert client.get(f"{URL}?status=odd").status_code == 400


def test_a_form_with_several_values_starts_a_search(client, user):
    reply = client.post(f"{URL}new/", WISH)
    search = Search.objects.get()
    assert reply.url == f"{URL}{search.pk}/"
    assert search.user == user
    assert search.varied == {"edge": [0.0, 0.01, 0.02], "contracts": [1, 5, 10]}
    assert search.params["ceiling"] == 0.15
    assert (search.points_count, search.folds) == (9, 1)


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"params.contracts": "1:x"}, "params.contracts", "Write a range as first:last:step."),
        ({"params.contracts": "0,5"}, "params.contracts", "Must be at least 1."),
        ({"params.edge": "7"}, "params.edge", "Must be at most 1."),
        ({"folds": "99"}, "folds", "less than or equal to 20"),
        ({"series": "KXNONE"}, "series", "Not on record: KXNONE."),
        ({"runs": "0"}, "runs", "greater than or equal to 1"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(client, user, values, field, message):
    reply = client.post(f"{URL}new/", WISH | values)
    assert reply.status_code == 400
    html = reply.content.decode()
    assert re.search(rf'id="id_{re.escape(field)}_error">[^<]*{re.escape(message)}', html)
    assert not Search.objects.exists()


def test_a_form_with_single_values_alone_asks_for_several(client, user):
    html = client.post(f"{URL}new/", WISH | {"params.contracts": "1", "params.edge": "0.0"})
    assert "Give at least one parameter several values." in html.content.decode()


def test_only_who_may_run_backtests_may_search(client):
    assert client.post(f"{URL}new/", WISH).url.startswith("/accounts/sign-in/")
    client.force_login(a_user(may_run=False))
    assert client.post(f"{URL}new/", WISH).status_code == 403
    assert not Search.objects.exists()


def test_a_search_under_way_shows_its_progress_and_what_is_done(client):
    search = a_search({"contracts": list(range(1, 21))})
    assert "Waiting for a worker" in page(client, f"{URL}{search.pk}/")
    runner.run_chunk(search.pk)
    html = page(client, f"{URL}{search.pk}/", "result")
    assert "<html" not in html
    assert "16 of 20 points have run" in words(html)
    assert "every 2s" in html
    assert 'class="heat' in html
    run_all(search)
    fresh = {"HX-Request": "true", "HX-Target": "result"}
    assert client.get(f"{URL}{search.pk}/", headers=fresh)["HX-Refresh"] == "true"


def test_a_search_that_is_done_shows_walk_forward_best_point_heat_map_and_points(client):
    search = run_all(a_search({"contracts": [1, 10], "edge": [0.0, 0.01]}, folds=1))
    text = words(page(client, f"{URL}{search.pk}/"))
    assert "Lost \u2212$8.13 on later markets with parameters that were chosen on earlier" in text
    assert "The best of 4 in hindsight" in text
    assert "Overfitting of this search. The probability of overfitting is" in text
    assert "The best point. 4 trials of this strategy so far" in text
    assert "P&amp;L by edge and contracts, dollars" in text
    table = words(page(client, f"{URL}{search.pk}/?ordering=-params.contracts", "points"))
    assert table.index("3 0.0 10") < table.index("1 0.0 1")


def test_the_table_is_ordered_by_any_column_and_unknown_ones_are_the_pnl(client):
    search = run_all(a_search({"contracts": [1, 5, 10]}))
    for order in ("number", "-fills", "-params.contracts", "test_pnl", "sharpe", "odd", "params.x"):
        assert page(client, f"{URL}{search.pk}/?ordering={order}", "points")


def test_the_page_takes_few_queries(client, django_assert_max_num_queries):
    search = run_all(a_search(folds=1))
    with django_assert_max_num_queries(10):
        page(client, f"{URL}{search.pk}/")


def test_a_search_is_cancelled_and_resumed_by_its_owner(client, user):
    search = a_search(user=user)
    assert "Cancel" in page(client, f"{URL}{search.pk}/")
    client.post(f"{URL}{search.pk}/cancel/")
    text = words(page(client, f"{URL}{search.pk}/"))
    assert "Cancelled after 0 of 3 points. Resume runs the others." in text
    client.post(f"{URL}{search.pk}/resume/")
    search.refresh_from_db()
    assert search.status == BacktestStatus.QUEUED
    client.force_login(a_user("eve"))
    for action in ("cancel", "resume"):
        assert client.post(f"{URL}{search.pk}/{action}/").status_code == 403


def test_a_failed_search_says_why_and_what_can_be_done(client, user):
    search = run_all(a_search(folds=4, user=user))
    assert "too few for 4 folds" in page(client, f"{URL}{search.pk}/")
    text = words(page(client, f"{URL}{search.pk}/"))
    assert "Resume runs what is missing; where the request was wrong, change it and search" in text
    client.logout()
    assert "Change the request and search again." in words(page(client, f"{URL}{search.pk}/"))


def test_a_strategy_without_parameters_asks_for_another_one(client):
    html = page(client, f"{URL}new/?strategy=do-nothing", "fields")
    assert "there is nothing to search. Choose another one." in html


def link(html: str, address: str) -> str:
    """The query of the first link to a form."""
    return str(re.findall(rf'href="{address}\?([^"]+)"', html)[0]).replace("&amp;", "&")


def test_the_links_fill_in_the_forms(client):
    search = run_all(a_search({"contracts": [1, 10]}, folds=1))
    html = page(client, f"{URL}{search.pk}/")
    again = link(html, "/backtests/searches/new/")
    form = page(client, f"{URL}new/?{again}")
    assert 'value="1,10"' in form
    assert re.search(r'name="folds" value="1"', form)
    rerun = link(html, "/backtests/new/")
    assert 'name="params.contracts" value="1"' in page(client, f"/backtests/new/?{rerun}")


def test_a_search_that_is_not_there_is_not_found(client):
    assert client.get(f"{URL}7/").status_code == 404
    assert client.get(f"{URL}{10**30}/").status_code == 404


# --- the heat map --------------------------------------------------------------------------------


def test_a_heat_map_has_the_median_of_the_points_of_each_cell():
    search = run_all(a_search({"contracts": [1, 10], "edge": [0.0, 0.01], "widest": [0.03, 0.05]}))
    points = list(search.points.all())
    heat = heat_map(search, points)
    assert (heat.across, heat.down, heat.others) == ("edge", "widest", ["contracts"])
    [_, (label, cells)] = heat.rows
    assert label == "0.05"
    assert [cell.step for cell in cells] == ["down-5", "down-5"]
    assert cells[1].words.startswith("median")
    other = heat_map(search, points, across="contracts", down="widest")
    assert (other.across, other.down) == ("contracts", "widest")
    assert [cell.step for cell in other.rows[0][1]] == ["0", "down-5"]
    assert heat_map(search, [], across="odd", down="odd").across == "edge"


def test_a_heat_map_of_one_parameter_has_one_row():
    search = run_all(a_search({"contracts": [1, 10]}))
    heat = heat_map(search, list(search.points.all()))
    assert (heat.down, len(heat.rows), list(heat.columns)) == ("", 1, ["1", "10"])


def test_many_values_share_columns_with_their_neighbours():
    axis = Axis.of("contracts", list(range(1, 31)))
    assert len(axis.labels) == MOST_VALUES
    assert axis.labels[0] == "1 to 2"
    assert sorted(axis.group.values()) == [axis.group[n] for n in range(1, 31)]
